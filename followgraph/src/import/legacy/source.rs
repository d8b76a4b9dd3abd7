//! The older system's PostgreSQL.
//!
//! Owns its schema and the order in which edges are read: by date, as lists will
//! show them. It must not know how edges are sent.
//!
//! All is read from one snapshot, as a dump does it, row by row: the server sorts,
//! and this side holds a few chunks, however large a table is. What can go wrong:
//! a database of another schema, or a connection that breaks; the same command
//! then goes on behind the last edge that was answered.

mod ordered;

use std::time::Duration;

use anyhow::{Context as _, bail};
use proto::UserId;
use proto::error::{Reason, reason_name};
use proto::graph::v1::EdgeKind;
use service_kit::{Secret, postgres};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use uuid::Uuid;

pub use self::ordered::{Fate, OlderEdge};

use super::super::READ_AHEAD;
use super::super::chunks::{self, Chunk};
use super::super::progress::{Done, Mark};
use super::super::row::{Refused, Row};
use crate::dates;
use crate::error::Advised;
use crate::ids::Id;

/// Edges of a table in the order of their dates. Those without a date come first,
/// and what is no date of the contract counts as none.
macro_rules! edges_of {
    ($table:literal, $source:literal, $target:literal) => {
        concat!(
            "-- legacy_",
            $table,
            "
SELECT source_id, target_id, created_at, deleted, unknown
FROM (
    SELECT e.",
            $source,
            " AS source_id, e.",
            $target,
            " AS target_id,
           CASE WHEN e.created_at BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59+00'
                THEN e.created_at END AS created_at,
           (a.deleted_at IS NOT NULL OR b.deleted_at IS NOT NULL) AS deleted,
           (a.id IS NULL OR b.id IS NULL) AS unknown
    FROM ",
            $table,
            " e
    LEFT JOIN users a ON a.id = e.",
            $source,
            "
    LEFT JOIN users b ON b.id = e.",
            $target,
            "
) edges
WHERE $1::timestamptz IS NULL
   OR (coalesce(created_at, '0001-01-01 00:00:00+00'), source_id, target_id) > ($1, $2::uuid, $3::uuid)
ORDER BY coalesce(created_at, '0001-01-01 00:00:00+00'), source_id, target_id"
        )
    };
}

const FOLLOWS: &str = edges_of!("follows", "follower_id", "following_id");
const MUTES: &str = edges_of!("mutes", "muter_id", "muted_id");
const BLOCKS: &str = edges_of!("blocks", "blocker_id", "blocked_id");

type EdgeRow = (Uuid, Uuid, Option<OffsetDateTime>, bool, bool);

/// How many users the older system knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users {
    /// All of them.
    pub total: u64,
    /// Those marked as deleted.
    pub soft_deleted: u64,
}

/// A snapshot of the older system's database.
pub struct Source {
    connection: PgConnection,
}

/// Checks the address, before anything is connected to.
pub fn check_address(url: &str) -> anyhow::Result<()> {
    postgres::check_address(&Secret::from(url))
        .map_err(|problem| anyhow::anyhow!("--from-legacy-postgres {problem}"))
}

impl Source {
    /// Connects, and takes the snapshot.
    pub async fn open(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        check_address(url)?;
        let url = Secret::from(url);
        let connected = tokio::time::timeout(timeout, postgres::connect_other(&url)).await;
        let mut connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(source)) => return Err(unreachable(Some(source))),
            Err(_) => return Err(unreachable(None)),
        };
        let ours: bool = sqlx::query_scalar("-- legacy_is_ours\nSELECT to_regclass('log_head') IS NOT NULL")
            .fetch_one(&mut connection)
            .await?;
        if ours {
            bail!("--from-legacy-postgres is the database of followgraph itself, not of the older system");
        }
        for statement in [
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            // The import waits for the service, so a statement takes as long as it takes.
            "SET LOCAL statement_timeout = 0",
            "SET LOCAL idle_in_transaction_session_timeout = 0",
        ] {
            sqlx::query(statement).execute(&mut connection).await?;
        }
        Ok(Self { connection })
    }

    /// Names the database: another one, or one that was loaded anew, has another name.
    pub async fn name(&mut self) -> anyhow::Result<String> {
        let name = sqlx::query_scalar(
            "-- legacy_name\n\
             SELECT format('%s %s %s %s %s', current_database(), d.oid, \
                           'follows'::regclass::oid, 'mutes'::regclass::oid, 'blocks'::regclass::oid) \
             FROM pg_database d WHERE d.datname = current_database()",
        )
        .fetch_one(&mut self.connection)
        .await;
        name.map_err(other_schema)
    }

    /// Counts the users.
    pub async fn users(&mut self) -> anyhow::Result<Users> {
        let counted = sqlx::query_as(
            "-- legacy_users\nSELECT count(*), count(*) FILTER (WHERE deleted_at IS NOT NULL) FROM users",
        )
        .fetch_one(&mut self.connection)
        .await;
        let (total, deleted): (i64, i64) = counted.map_err(other_schema)?;
        Ok(Users { total: total.unsigned_abs(), soft_deleted: deleted.unsigned_abs() })
    }

    /// Counts the edges of a kind.
    pub async fn count(&mut self, kind: EdgeKind) -> anyhow::Result<u64> {
        let statement = match kind {
            EdgeKind::Block => "-- legacy_count_blocks\nSELECT count(*) FROM blocks",
            EdgeKind::Mute => "-- legacy_count_mutes\nSELECT count(*) FROM mutes",
            _ => "-- legacy_count_follows\nSELECT count(*) FROM follows",
        };
        let counted = sqlx::query_scalar(statement).fetch_one(&mut self.connection).await;
        let rows: i64 = counted.map_err(other_schema)?;
        Ok(rows.unsigned_abs())
    }

    /// Reads the edges of a kind behind those that are done. The snapshot comes back at the end.
    pub fn read(
        self,
        kind: EdgeKind,
        done: &Done,
    ) -> (mpsc::Receiver<anyhow::Result<Chunk>>, JoinHandle<Self>) {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let cutter = Cutter::after(kind, done);
        let after = done.mark;
        (receiver, tokio::spawn(self.send(kind, after, cutter, sender)))
    }

    async fn send(
        mut self,
        kind: EdgeKind,
        after: Option<Mark>,
        mut cutter: Cutter,
        sender: mpsc::Sender<anyhow::Result<Chunk>>,
    ) -> Self {
        let statement = match kind {
            EdgeKind::Block => BLOCKS,
            EdgeKind::Mute => MUTES,
            _ => FOLLOWS,
        };
        let mut rows = sqlx::query_as::<_, EdgeRow>(statement)
            .bind(after.and_then(Mark::date))
            .bind(after.map(|mark| mark.source))
            .bind(after.map(|mark| mark.target))
            .fetch(&mut self.connection);
        while let Some(row) = rows.next().await {
            let chunk = match row {
                Ok(row) => cutter.add(row).map(Ok),
                Err(error) => Some(Err(error).context("cannot read the older system's database on")),
            };
            let Some(chunk) = chunk else { continue };
            let failed = chunk.is_err();
            if sender.send(chunk).await.is_err() || failed {
                drop(rows);
                return self;
            }
        }
        drop(rows);
        if let Some(rest) = cutter.rest() {
            // An import that is over needs it no more.
            let _ = sender.send(Ok(rest)).await;
        }
        self
    }
}

/// Cuts rows into chunks.
struct Cutter {
    size: u64,
    line: u64,
    chunk: Chunk,
}

impl Cutter {
    fn after(kind: EdgeKind, done: &Done) -> Self {
        let chunk = Chunk { number: done.chunks, ..Chunk::default() };
        Self { size: chunks::size(kind) as u64, line: done.lines, chunk }
    }

    /// Takes a row; answers a chunk when one is full.
    fn add(&mut self, (source, target, created_at, deleted, unknown): EdgeRow) -> Option<Chunk> {
        self.line += 1;
        self.chunk.mark = Some(Mark::new(created_at, source, target));
        if deleted {
            self.chunk.left_out += 1;
        } else {
            self.chunk.unknown += u64::from(unknown);
            match edge(self.line, source, target, created_at) {
                Ok(row) => self.chunk.edges.push(row),
                Err(refused) => self.chunk.refused.push(refused),
            }
        }
        if self.chunk.lines() < self.size { None } else { self.rest() }
    }

    /// What is left.
    fn rest(&mut self) -> Option<Chunk> {
        let next = Chunk { number: self.chunk.number + 1, ..Chunk::default() };
        let chunk = std::mem::replace(&mut self.chunk, next);
        (chunk.lines() > 0).then_some(chunk)
    }
}

fn edge(line: u64, source: Uuid, target: Uuid, created_at: Option<OffsetDateTime>) -> Result<Row, Refused> {
    let refused = |reason, message: &str| {
        let date = created_at.map(dates::format).unwrap_or_default();
        Refused {
            line,
            reason: reason_name(reason),
            message: message.to_owned(),
            row: format!("{source}\t{target}\t{date}"),
        }
    };
    let nil = |column| refused(Reason::NilUuid, column);
    let source = UserId::new(source).ok_or_else(|| nil("source_id must not be the nil UUID"))?;
    let target = UserId::new(target).ok_or_else(|| nil("target_id must not be the nil UUID"))?;
    if source == target {
        return Err(refused(Reason::SelfEdge, "target_id must be another account than source_id"));
    }
    Ok(Row {
        line,
        source: Id::from(source),
        target: Id::from(target),
        created_at,
        expires_at: None,
        without_zone: false,
    })
}

fn unreachable(source: Option<sqlx::Error>) -> anyhow::Error {
    Advised {
        message: "cannot connect to the older system's PostgreSQL".to_owned(),
        hint: "is it up, and does --from-legacy-postgres (with user and password) fit?".to_owned(),
        source: source.map(Into::into),
    }
    .into()
}

fn other_schema(source: sqlx::Error) -> anyhow::Error {
    Advised {
        message: "cannot read the older system's tables".to_owned(),
        hint: "they are users, follows, mutes and blocks; is this its database, and may this user read them?"
            .to_owned(),
        source: Some(source.into()),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u128, deleted: bool) -> EdgeRow {
        (Uuid::from_u128(n), Uuid::from_u128(1_000_000), None, deleted, n == 7)
    }

    #[test]
    fn chunks_go_on_where_the_last_run_ended() {
        let done = Done { chunks: 4, lines: 1_200, ..Done::default() };
        let mut cutter = Cutter::after(EdgeKind::Block, &done);
        let mut chunks: Vec<_> = (1..=301).filter_map(|n| cutter.add(row(n, n == 5))).collect();
        chunks.extend(cutter.rest());
        let told: Vec<_> = chunks.iter().map(|c| (c.number, c.edges.len(), c.left_out, c.unknown)).collect();
        assert_eq!(told, [(4, 299, 1, 1), (5, 1, 0, 0)]);
        assert_eq!(chunks[0].edges[0].line, 1_201);
        assert_eq!(chunks[0].mark, Some(Mark::new(None, Uuid::from_u128(300), Uuid::from_u128(1_000_000))));
        assert_eq!(cutter.rest(), None);
    }

    #[test]
    fn what_is_no_edge_here_is_refused_and_shown() {
        let (a, nil) = (Uuid::from_u128(1), Uuid::nil());
        let reason = |source, target| edge(1, source, target, None).expect_err("refused").reason;
        assert_eq!(reason(a, a), "SELF_EDGE");
        assert_eq!(reason(nil, a), "NIL_UUID");
        assert_eq!(reason(a, nil), "NIL_UUID");
        let shown = edge(1, a, a, Some(OffsetDateTime::UNIX_EPOCH)).expect_err("refused").row;
        assert_eq!(shown, format!("{a}\t{a}\t1970-01-01T00:00:00Z"));
    }
}
