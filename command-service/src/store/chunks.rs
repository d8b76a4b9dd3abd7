//! Reads the next edges of a job or of the expiry, under the lock on the head.

use proto::Position;
use proto::event::EdgeKey;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::load::Row;

/// The live edges of an account.
pub const LIVE: &str = include_str!("chunk_live.sql");
/// The archived edges of an account.
pub const ARCHIVED: &str = include_str!("chunk_archived.sql");
/// The follow requests to an account.
pub const REQUESTS: &str = "-- chunk_requests
    SELECT 4 AS kind, requester_id AS a, target_id AS b, created_at AS at, NULL::timestamptz AS expires_at,
           position, revision
    FROM follow_requests WHERE target_id = $1 AND position > $2 ORDER BY position LIMIT $3";

/// Edges by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Keys of the edges.
    pub keys: Vec<EdgeKey>,
    /// Position of the last edge; the next chunk begins after it.
    pub last: Position,
}

/// Reads the next edges of an account: `sql` is [`LIVE`], [`ARCHIVED`] or [`REQUESTS`].
pub async fn read(
    connection: &mut PgConnection,
    sql: &'static str,
    user: Uuid,
    after: Position,
    limit: usize,
) -> sqlx::Result<Chunk> {
    let rows: Vec<Row> = sqlx::query_as(sql)
        .bind(user)
        .bind(after.as_i64())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    let edges: Vec<_> = rows.iter().filter_map(Row::edge).collect();
    Ok(Chunk {
        last: edges.last().map_or(Position(0), |(_, edge)| edge.position),
        keys: edges.into_iter().map(|(key, _)| key).collect(),
    })
}

/// Reads expired mutes and blocks, the most overdue first.
pub async fn expired(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    limit: usize,
) -> sqlx::Result<Vec<EdgeKey>> {
    let rows: Vec<Row> = sqlx::query_as(
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
    Ok(rows.iter().filter_map(Row::edge).map(|(key, _)| key).collect())
}

/// Whether an expired mute or block exists.
pub async fn any_expired(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "-- any_expired
         SELECT EXISTS (SELECT FROM mutes WHERE expires_at <= now())
             OR EXISTS (SELECT FROM blocks WHERE expires_at <= now())",
    )
    .fetch_one(connection)
    .await
}
