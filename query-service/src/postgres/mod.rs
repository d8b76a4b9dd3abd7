//! Reads from PostgreSQL; the only SQL of this crate.
//!
//! Head and rows come from one statement, and so from one snapshot: an answer is of exactly one revision. The schema is
//! checked before the first use, not at start, because this process must start while PostgreSQL is down. The server
//! itself ends a statement whose caller stops waiting.

mod export;
mod hops;
mod rows;
mod sql;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::{Position, Token, UserId};
use service_kit::postgres::{
    acquire, check_sessions, is_misconfiguration, is_shared_session, limit_statements,
};
use service_kit::telemetry::chain;
use service_kit::trace::{Database, db};
use service_kit::with_timeout;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use uuid::Uuid;

use self::rows::{AccountRow, EdgeRow, LinkRow, token};
use crate::queries::{
    Check, Context, Counts, CountsOf, Error, ListRow, Page, Read, ReadResult, Relation, Relations, SeenPage,
    SeenRow, Versioned,
};

pub use export::{EdgeTable, ExportRow, Exporter};

/// `query_canceled`: the statement timed out.
const CANCELED: &str = "57014";

/// The check of sessions takes a dozen exchanges, and a new connection.
const SESSIONS_TIMES: u32 = 5;

/// Reads from PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresReader {
    pool: PgPool,
    checked: Arc<AtomicBool>,
}

impl PostgresReader {
    /// A reader that is usable once the schema was checked.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, checked: Arc::default() }
    }

    /// A reader over another pool; a check by one counts for both.
    pub fn over(&self, pool: PgPool) -> Self {
        Self { pool, checked: Arc::clone(&self.checked) }
    }

    /// Checks the schema unless that was done, and returns the head and the id of the database.
    pub async fn check_and_head(&self, within: Duration) -> Result<(Token, Uuid), Error> {
        if !self.checked.load(Ordering::Acquire) {
            // First, because the prepared statements of all other queries fail in unsuitable sessions.
            let own = async { check_sessions(&self.pool).await.map_err(unfit) };
            in_time(within * SESSIONS_TIMES, own).await?;
            let ours = async { migrations::check_postgres(&self.pool).await.map_err(unfit) };
            in_time(within, ours).await?;
            self.checked.store(true, Ordering::Release);
        }
        let read = async {
            let mut connection = self.connection(within).await?;
            let query = sqlx::query_as(sql::HEAD);
            let (epoch, revision, database) = query.fetch_one(&mut *connection).await.map_err(failed)?;
            Ok((token(epoch, revision), database))
        };
        in_time(within, read).await
    }

    /// Requires a new check of the schema before the next read: another database may have come back.
    pub fn forget_check(&self) {
        self.checked.store(false, Ordering::Release);
    }

    /// A connection with a statement timeout.
    async fn connection(&self, within: Duration) -> Result<PoolConnection<Postgres>, Error> {
        if !self.checked.load(Ordering::Acquire) {
            return Err(Error::Unchecked);
        }
        let mut connection = acquire(&self.pool).await.map_err(failed)?;
        limit_statements(&mut connection, within).await.map_err(failed)?;
        Ok(connection)
    }
}

/// Distinguishes a wrongly configured server from an unreachable one.
fn unfit(error: impl Into<migrations::Error>) -> Error {
    match error.into() {
        error @ migrations::Error::Foreign(_) => Error::Misconfigured(error.to_string()),
        migrations::Error::Postgres(error) => failed(error),
        error => Error::failed(error),
    }
}

/// The message for operators; `None` if the error says only that there was no answer.
pub fn problem(error: &Error) -> Option<String> {
    match error {
        Error::Misconfigured(problem) => Some(problem.clone()),
        Error::Failed(source) => Some(match source.downcast_ref::<sqlx::Error>() {
            Some(error) => service_kit::postgres::problem(error),
            None => chain(&**source),
        }),
        _ => None,
    }
}

impl Read<Check> for PostgresReader {
    async fn read(&self, check: &Check, cx: Context<'_>) -> ReadResult<Vec<bool>> {
        let read = async {
            let mut connection = self.connection(cx.within).await?;
            let query = sqlx::query_as(sql::CHECK).bind(check.viewer.uuid()).bind(uuids(&check.targets));
            let row: (i64, i64, Vec<Uuid>) = query.fetch_one(&mut *connection).await.map_err(failed)?;
            let (epoch, revision, followed) = row;
            let followed: HashSet<Uuid> = followed.into_iter().collect();
            let value = check.targets.iter().map(|target| followed.contains(&target.uuid())).collect();
            Ok(Versioned::exact(value, token(epoch, revision)))
        };
        traced("checks.read", cx, read).await
    }
}

impl Read<Relations> for PostgresReader {
    async fn read(&self, asked: &Relations, cx: Context<'_>) -> ReadResult<Vec<Relation>> {
        let read =
            async { relations(&mut *self.connection(cx.within).await?, asked.viewer, &asked.targets).await };
        traced("relations.read", cx, read).await
    }
}

impl Read<Page> for PostgresReader {
    async fn read(&self, page: &Page, cx: Context<'_>) -> ReadResult<Vec<ListRow>> {
        let read = async { list(&mut *self.connection(cx.within).await?, page).await };
        traced("lists.read", cx, read).await
    }
}

impl Read<SeenPage> for PostgresReader {
    async fn read(&self, page: &SeenPage, cx: Context<'_>) -> ReadResult<Vec<SeenRow>> {
        let SeenPage { list, user, before, limit, viewer } = *page;
        let read = async {
            let mut connection = self.connection(cx.within).await?;
            let query = sqlx::query_as(sql::seen_list(list)).bind(user.uuid()).bind(below(before));
            let query = query.bind(number(limit)).bind(viewer.uuid());
            let rows: Vec<LinkRow> = query.fetch_all(&mut *connection).await.map_err(failed)?;
            let as_of = head_of(&rows)?;
            Ok(Versioned::exact(rows::seen(rows), as_of))
        };
        traced("lists.read", cx, read).await
    }
}

impl Read<CountsOf> for PostgresReader {
    async fn read(&self, asked: &CountsOf, cx: Context<'_>) -> ReadResult<Vec<Counts>> {
        let read = async {
            let mut connection = self.connection(cx.within).await?;
            let query = sqlx::query_as(sql::COUNTS).bind(uuids(&asked.users));
            let rows: Vec<AccountRow> = query.fetch_all(&mut *connection).await.map_err(failed)?;
            let as_of = rows.first().map(|row| token(row.epoch, row.revision)).ok_or_else(no_head)?;
            let known: HashMap<Uuid, Counts> = rows.into_iter().filter_map(AccountRow::into_counts).collect();
            let of = |user: &UserId| known.get(&user.uuid()).copied().unwrap_or_default();
            Ok(Versioned::exact(asked.users.iter().map(of).collect(), as_of))
        };
        traced("counts.read", cx, read).await
    }
}

async fn relations(
    connection: &mut PgConnection,
    viewer: UserId,
    targets: &[UserId],
) -> ReadResult<Vec<Relation>> {
    let query = sqlx::query_as(sql::RELATIONS).bind(viewer.uuid()).bind(uuids(targets));
    let rows: Vec<LinkRow> = query.fetch_all(connection).await.map_err(failed)?;
    let as_of = head_of(&rows)?;
    let (_, relations) = rows::sort_links(rows);
    let of = |target: &UserId| relations.get(&target.uuid()).copied().unwrap_or_default();
    Ok(Versioned::exact(targets.iter().map(of).collect(), as_of))
}

async fn list(connection: &mut PgConnection, page: &Page) -> ReadResult<Vec<ListRow>> {
    let Page { kind, user, before, limit } = *page;
    let query = sqlx::query_as(sql::list(kind)).bind(user.uuid()).bind(below(before)).bind(number(limit));
    let rows: Vec<EdgeRow> = query.fetch_all(connection).await.map_err(failed)?;
    let as_of = rows.first().map(|row| token(row.epoch, row.revision)).ok_or_else(no_head)?;
    Ok(Versioned::exact(rows.into_iter().filter_map(EdgeRow::into_list_row).collect(), as_of))
}

fn head_of(rows: &[LinkRow]) -> Result<Token, Error> {
    rows.first().map(|row| token(row.epoch, row.head)).ok_or_else(no_head)
}

fn uuids(users: &[UserId]) -> Vec<Uuid> {
    users.iter().map(|user| user.uuid()).collect()
}

/// The parameter of a position; `None` stands above all positions.
fn below(position: Option<Position>) -> i64 {
    position.map_or(i64::MAX, Position::as_i64)
}

fn number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn no_head() -> Error {
    Error::failed("the row of the log's head is missing")
}

fn failed(error: sqlx::Error) -> Error {
    if is_shared_session(&error) || is_misconfiguration(&error) {
        return Error::Misconfigured(service_kit::postgres::problem(&error));
    }
    let code = error.as_database_error().and_then(|error| error.code());
    if code.is_some_and(|code| code == CANCELED) { Error::TimedOut } else { Error::failed(error) }
}

/// Runs a statement, or the transaction of an answer, in a span that includes the wait for a connection.
async fn traced<T>(
    operation: &'static str,
    cx: Context<'_>,
    read: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    db(Database::PostgreSql, operation, cx.parent).finish(in_time(cx.within, read).await)
}

/// The server's own limit counts per statement and excludes connecting; this one includes everything.
async fn in_time<T>(within: Duration, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    with_timeout(within, read, || Error::TimedOut).await
}

#[cfg(test)]
mod tests;
