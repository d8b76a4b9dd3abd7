//! The next edges that a job, or the expiry, deals with. Read under the lock on the head.

use proto::Position;
use proto::event::EdgeKey;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::load::EdgeRow;

/// Edges in the order of their positions, and where the next chunk begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The edges.
    pub keys: Vec<EdgeKey>,
    /// The position of the last one.
    pub last: Position,
}

fn chunk(rows: &[EdgeRow]) -> Chunk {
    let edges: Vec<_> = rows.iter().filter_map(EdgeRow::edge).collect();
    Chunk {
        last: edges.last().map_or(Position(0), |(_, edge)| edge.position),
        keys: edges.into_iter().map(|(key, _)| key).collect(),
    }
}

async fn read(
    connection: &mut PgConnection,
    sql: &'static str,
    user: Uuid,
    after: Position,
    limit: usize,
) -> Result<Chunk, sqlx::Error> {
    let rows: Vec<EdgeRow> = sqlx::query_as(sql)
        .bind(user)
        .bind(after.as_i64())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    Ok(chunk(&rows))
}

/// The next edges of an account that everybody sees.
pub async fn live(
    connection: &mut PgConnection,
    user: Uuid,
    after: Position,
    limit: usize,
) -> Result<Chunk, sqlx::Error> {
    read(connection, include_str!("chunk_live.sql"), user, after, limit).await
}

/// The next hidden edges of an account.
pub async fn archived(
    connection: &mut PgConnection,
    user: Uuid,
    after: Position,
    limit: usize,
) -> Result<Chunk, sqlx::Error> {
    read(connection, include_str!("chunk_archived.sql"), user, after, limit).await
}

/// The next requests to follow an account, oldest first.
pub async fn requests(
    connection: &mut PgConnection,
    user: Uuid,
    after: Position,
    limit: usize,
) -> Result<Chunk, sqlx::Error> {
    const SQL: &str = "-- chunk_requests
        SELECT 4 AS kind, requester_id AS a, target_id AS b, created_at AS at, NULL::timestamptz AS expires_at,
               position, revision
        FROM follow_requests WHERE target_id = $1 AND position > $2 ORDER BY position LIMIT $3";
    read(connection, SQL, user, after, limit).await
}

/// Mutes and blocks that have run out, the most overdue first.
pub async fn expired(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    limit: usize,
) -> Result<Vec<EdgeKey>, sqlx::Error> {
    let rows: Vec<EdgeRow> = sqlx::query_as(
        "-- chunk_expired
         (SELECT 2 AS kind, muter_id AS a, muted_id AS b, created_at AS at, expires_at, position, revision
          FROM mutes WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)
         UNION ALL
         (SELECT 3, blocker_id, blocked_id, created_at, expires_at, position, revision
          FROM blocks WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)
         ORDER BY expires_at LIMIT $2",
    )
    .bind(now)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    Ok(rows.iter().filter_map(EdgeRow::edge).map(|(key, _)| key).collect())
}

/// Something has run out.
pub async fn any_expired(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "-- any_expired
         SELECT EXISTS (SELECT FROM mutes WHERE expires_at <= now())
             OR EXISTS (SELECT FROM blocks WHERE expires_at <= now())",
    )
    .fetch_one(connection)
    .await
}
