//! Ranges of edges, each with the head of the same snapshot.
//!
//! A snapshot is closed at once: a long one keeps PostgreSQL from removing the old versions of rows that every write
//! touches.

use event_log::LogPosition;
use proto::timestamp::to_millis;
use proto::{Position, Revision, UserId};
use service_kit::postgres::acquire;
use sqlx::{AssertSqlSafe, Connection as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::database::{Error, HEAD, Truth, position};
use crate::edge::{Edge, Kind, changed_at};

/// An edge of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Where it starts.
    pub source: UserId,
    /// Where it ends.
    pub target: UserId,
    /// Its values.
    pub edge: Edge,
}

/// Edges at the revision of `head`.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The newest position in the snapshot.
    pub head: LogPosition,
    /// The edges, by source and target.
    pub rows: Vec<Row>,
}

type Columns = (Uuid, Uuid, OffsetDateTime, Option<OffsetDateTime>, i64, i64);

/// The table of a kind, its columns for both ends, and the expression for the expiry.
fn table(kind: Kind) -> (&'static str, &'static str, &'static str, &'static str) {
    match kind {
        Kind::Follow => ("follows", "follower_id", "following_id", "NULL::timestamptz"),
        Kind::Mute => ("mutes", "muter_id", "muted_id", "expires_at"),
        Kind::Block => ("blocks", "blocker_id", "blocked_id", "expires_at"),
        Kind::Request => ("follow_requests", "requester_id", "target_id", "NULL::timestamptz"),
    }
}

impl Truth {
    /// The first edges after a pair, by source and target; at most `limit`.
    pub async fn edges_after(
        &self,
        kind: Kind,
        after: Option<(UserId, UserId)>,
        limit: u32,
    ) -> Result<Snapshot, Error> {
        // The nil UUID is below every id.
        let (source, target) =
            after.map_or((Uuid::nil(), Uuid::nil()), |(source, target)| (source.uuid(), target.uuid()));
        let (table, from, to, expires) = table(kind);
        let sql = format!(
            "-- projector_edges_after
             SELECT {from}, {to}, created_at, {expires}, position, revision FROM {table}
             WHERE ({from}, {to}) > ($1, $2) AND {from} <> '00000000-0000-0000-0000-000000000000'
             AND {to} <> '00000000-0000-0000-0000-000000000000' ORDER BY {from}, {to} LIMIT $3"
        );
        let rows = sqlx::query_as(AssertSqlSafe(sql)).bind(source).bind(target).bind(i64::from(limit));
        self.snapshot(rows).await
    }

    /// The edges among the given pairs.
    pub async fn edges_of(&self, kind: Kind, pairs: &[(UserId, UserId)]) -> Result<Snapshot, Error> {
        let sources: Vec<Uuid> = pairs.iter().map(|(source, _)| source.uuid()).collect();
        let targets: Vec<Uuid> = pairs.iter().map(|(_, target)| target.uuid()).collect();
        let (table, from, to, expires) = table(kind);
        let sql = format!(
            "-- projector_edges_of
             SELECT {from}, {to}, created_at, {expires}, position, revision FROM {table}
             WHERE ({from}, {to}) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))"
        );
        let rows = sqlx::query_as(AssertSqlSafe(sql)).bind(sources).bind(targets);
        self.snapshot(rows).await
    }

    async fn snapshot<'q>(
        &self,
        rows: sqlx::query::QueryAs<'q, sqlx::Postgres, Columns, sqlx::postgres::PgArguments>,
    ) -> Result<Snapshot, Error> {
        let mut connection = acquire(&self.pool).await?;
        let mut tx = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let head: (i64, i64, Option<Uuid>) = sqlx::query_as(HEAD).fetch_one(&mut *tx).await?;
        let rows = rows.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        Ok(Snapshot { head: position(head), rows: rows.into_iter().filter_map(row).collect() })
    }
}

/// Drops rows with a nil id, which the tables should not contain. Ranges do not read them, because a range with fewer
/// rows than its limit counts as the last.
fn row((source, target, created_at, expires_at, position, revision): Columns) -> Option<Row> {
    Some(Row {
        source: UserId::new(source)?,
        target: UserId::new(target)?,
        edge: Edge {
            position,
            created_at: to_millis(created_at),
            expires_at: expires_at.map(to_millis),
            changed_at: changed_at(Revision::from_i64(revision), Position::from_i64(position)),
        },
    })
}
