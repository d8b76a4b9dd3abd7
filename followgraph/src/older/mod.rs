//! The older system's PostgreSQL: its schema, and its edges from one snapshot, as a dump reads them.
//!
//! The server sorts and this side reads row by row, however large a table is.

mod ordered;
mod table;

use std::time::Duration;

use anyhow::{Context as _, bail};
use proto::graph::v1::EdgeKind;
use service_kit::{Secret, postgres};
use sqlx::{AssertSqlSafe, PgConnection};
use time::OffsetDateTime;
use tokio_stream::{Stream, StreamExt as _};
use uuid::Uuid;

pub use self::ordered::{ImportResult, OlderEdge};
use self::table::Table;
use crate::error::Hinted;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users {
    pub total: u64,
    pub soft_deleted: u64,
}

/// An edge with its ends, its date, and whether an account at an end is marked as deleted, or unknown.
pub type DatedEdge = (Uuid, Uuid, Option<OffsetDateTime>, bool, bool);

/// A snapshot of the older system's database.
pub struct Snapshot {
    connection: PgConnection,
}

/// Checks the URL without connecting.
pub fn check_address(url: &str) -> anyhow::Result<()> {
    postgres::check_address(&Secret::from(url))
        .map_err(|problem| anyhow::anyhow!("--from-legacy-postgres {problem}"))
}

impl Snapshot {
    /// Connects, and takes the snapshot.
    pub async fn open(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        check_address(url)?;
        let url = Secret::from(url);
        let unreachable = || {
            Hinted::new(
                "cannot connect to the older system's PostgreSQL",
                "is it up, and is --from-legacy-postgres right (with user and password)?",
            )
        };
        let connected = tokio::time::timeout(timeout, postgres::connect_other(&url)).await;
        let mut connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(source)) => return Err(unreachable().caused_by(source).into()),
            Err(_) => return Err(unreachable().into()),
        };
        let ours: bool = sqlx::query_scalar("-- legacy_is_ours\nSELECT to_regclass('log_head') IS NOT NULL")
            .fetch_one(&mut connection)
            .await?;
        if ours {
            bail!("--from-legacy-postgres is the database of followgraph itself, not of the older system");
        }
        for statement in [
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            // Rows are read as fast as the service takes them, so a statement may take hours.
            "SET LOCAL statement_timeout = 0",
            "SET LOCAL idle_in_transaction_session_timeout = 0",
        ] {
            sqlx::query(statement).execute(&mut connection).await?;
        }
        Ok(Self { connection })
    }

    /// Identifies the database: another or newly loaded one has another identity.
    pub async fn identity(&mut self) -> anyhow::Result<String> {
        let identity = sqlx::query_scalar(
            "-- legacy_name\n\
             SELECT format('%s %s %s %s %s', current_database(), d.oid, \
                           'follows'::regclass::oid, 'mutes'::regclass::oid, 'blocks'::regclass::oid) \
             FROM pg_database d WHERE d.datname = current_database()",
        )
        .fetch_one(&mut self.connection)
        .await;
        identity.map_err(other_schema)
    }

    pub async fn users(&mut self) -> anyhow::Result<Users> {
        let counted = sqlx::query_as(
            "-- legacy_users\nSELECT count(*), count(*) FILTER (WHERE deleted_at IS NOT NULL) FROM users",
        )
        .fetch_one(&mut self.connection)
        .await;
        let (total, deleted): (i64, i64) = counted.map_err(other_schema)?;
        Ok(Users { total: total.unsigned_abs(), soft_deleted: deleted.unsigned_abs() })
    }

    pub async fn count(&mut self, kind: EdgeKind) -> anyhow::Result<u64> {
        let statement = Table::of(kind).count();
        let counted = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut self.connection).await;
        let rows: i64 = counted.map_err(other_schema)?;
        Ok(rows.unsigned_abs())
    }

    /// Edges of a kind after a place, in the order of dates and then ids. Edges without a valid date come first.
    pub fn by_date(
        &mut self,
        kind: EdgeKind,
        after: Option<(Option<OffsetDateTime>, Uuid, Uuid)>,
    ) -> impl Stream<Item = anyhow::Result<DatedEdge>> + Unpin {
        let rows = sqlx::query_as::<_, DatedEdge>(AssertSqlSafe(Table::of(kind).by_date()))
            .bind(after.and_then(|(date, ..)| date))
            .bind(after.map(|(_, source, _)| source))
            .bind(after.map(|(.., target)| target))
            .fetch(&mut self.connection);
        rows.map(|row| row.context("cannot read the rest of the older system's database"))
    }

    /// All edges of a kind, in the order of their ids.
    pub fn by_id(&mut self, kind: EdgeKind) -> impl Stream<Item = anyhow::Result<OlderEdge>> + Unpin {
        ordered::edges(&mut self.connection, Table::of(kind)).map(|row| row.map_err(other_schema))
    }
}

fn other_schema(source: sqlx::Error) -> anyhow::Error {
    Hinted::new(
        "cannot read the older system's tables",
        "the tables are users, follows, mutes and blocks: is this its database, and may this user read them?",
    )
    .caused_by(source)
    .into()
}
