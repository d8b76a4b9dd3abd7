//! Reads from the source of truth; the only SQL of this crate.
//!
//! Head and rows come from one statement, and so from one snapshot: an answer is of exactly one revision. The schema is
//! checked before the first use, not at start: this process must start while PostgreSQL is down. The server itself ends
//! a statement whose caller stops waiting.

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
use service_kit::trace::{Database, Parent, Span, db};
use service_kit::with_timeout;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use uuid::Uuid;

use self::rows::{AccountRow, CheckRow, EdgeRow, HeadRow, LinkRow, token};
use crate::queries::{
    Check, Counts, CountsOf, Error, ListKind, ListRow, Page, PublicList, Read, Relation, Relations, SeenPage,
    SeenRow, Versioned,
};

pub use export::{EdgeTable, ExportRow, Exporter};

/// `query_canceled`: the statement's time was up.
const CANCELED: &str = "57014";

/// Sessions are compared by a dozen exchanges, and a new connection.
const SESSIONS_TIMES: u32 = 5;

/// Reads from PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresReader {
    pool: PgPool,
    checked: Arc<AtomicBool>,
}

impl PostgresReader {
    /// Reads over this pool, once the schema was checked.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, checked: Arc::default() }
    }

    /// The same over another pool; a check of one counts for both.
    pub fn over(&self, pool: PgPool) -> Self {
        Self { pool, checked: Arc::clone(&self.checked) }
    }

    /// Checks the schema unless that was done, and reads the head and which database this is.
    pub async fn check_and_head(&self, within: Duration) -> Result<(Token, Uuid), Error> {
        if !self.checked.load(Ordering::Acquire) {
            // First: what is asked in prepared statements fails in sessions that are not.
            let own = async { check_sessions(&self.pool).await.map_err(unfit) };
            in_time(within * SESSIONS_TIMES, own).await?;
            let ours = async { migrations::check_postgres(&self.pool).await.map_err(unfit) };
            in_time(within, ours).await?;
            self.checked.store(true, Ordering::Release);
        }
        let read = async {
            let mut connection = self.connection(within).await?;
            let head: HeadRow =
                sqlx::query_as(sql::HEAD).fetch_one(&mut *connection).await.map_err(failed)?;
            Ok((token(head.epoch, head.revision), head.database_id))
        };
        in_time(within, read).await
    }

    /// The schema must be checked again before the next read: another database may have come back.
    pub fn forget_check(&self) {
        self.checked.store(false, Ordering::Release);
    }

    /// A connection whose statements end in time.
    async fn connection(&self, within: Duration) -> Result<PoolConnection<Postgres>, Error> {
        if !self.checked.load(Ordering::Acquire) {
            return Err(Error::Unchecked);
        }
        let mut connection = acquire(&self.pool).await.map_err(failed)?;
        limit_statements(&mut connection, within).await.map_err(failed)?;
        Ok(connection)
    }
}

/// Distinguishes a server that the settings should not lead to from one that is away.
fn unfit(error: impl Into<migrations::Error>) -> Error {
    match error.into() {
        error @ migrations::Error::Foreign(_) => Error::Misconfigured(error.to_string()),
        migrations::Error::Postgres(error) => failed(error),
        error => Error::failed(error),
    }
}

/// What an operator should know of an error; none if it says no more than that there was no answer.
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
    async fn read(
        &self,
        check: &Check,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        let read = async {
            let mut connection = self.connection(within).await?;
            let row: CheckRow = sqlx::query_as(sql::CHECK)
                .bind(check.viewer.uuid())
                .bind(uuids(&check.targets))
                .fetch_one(&mut *connection)
                .await
                .map_err(failed)?;
            let followed: HashSet<Uuid> = row.followed.into_iter().collect();
            let value = check.targets.iter().map(|target| followed.contains(&target.uuid())).collect();
            Ok(Versioned::exact(value, token(row.epoch, row.revision)))
        };
        db_span("checks.read", parent).finish(in_time(within, read).await)
    }
}

impl Read<Relations> for PostgresReader {
    async fn read(
        &self,
        asked: &Relations,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<Relation>>, Error> {
        let read =
            async { relations(&mut *self.connection(within).await?, asked.viewer, &asked.targets).await };
        db_span("relations.read", parent).finish(in_time(within, read).await)
    }
}

impl Read<Page> for PostgresReader {
    async fn read(
        &self,
        page: &Page,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<ListRow>>, Error> {
        let read = async { list(&mut *self.connection(within).await?, page).await };
        db_span("lists.read", parent).finish(in_time(within, read).await)
    }
}

impl Read<SeenPage> for PostgresReader {
    async fn read(
        &self,
        page: &SeenPage,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<SeenRow>>, Error> {
        let statement = match page.list {
            PublicList::Followers => sql::FOLLOWERS_SEEN,
            PublicList::Following => sql::FOLLOWING_SEEN,
        };
        let read = async {
            let mut connection = self.connection(within).await?;
            let rows: Vec<LinkRow> = sqlx::query_as(statement)
                .bind(page.user.uuid())
                .bind(below(page.before))
                .bind(number(page.limit))
                .bind(page.viewer.uuid())
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
            let as_of = head_of(&rows)?;
            Ok(Versioned::exact(rows::seen(rows), as_of))
        };
        db_span("lists.read", parent).finish(in_time(within, read).await)
    }
}

impl Read<CountsOf> for PostgresReader {
    async fn read(
        &self,
        asked: &CountsOf,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<Counts>>, Error> {
        let read = async {
            let mut connection = self.connection(within).await?;
            let rows: Vec<AccountRow> = sqlx::query_as(sql::COUNTS)
                .bind(uuids(&asked.users))
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
            let as_of = rows.first().map(|row| token(row.epoch, row.revision)).ok_or_else(no_head)?;
            let known: HashMap<Uuid, Counts> = rows.into_iter().filter_map(AccountRow::into_counts).collect();
            let of = |user: &UserId| known.get(&user.uuid()).copied().unwrap_or_default();
            Ok(Versioned::exact(asked.users.iter().map(of).collect(), as_of))
        };
        db_span("counts.read", parent).finish(in_time(within, read).await)
    }
}

async fn relations(
    connection: &mut PgConnection,
    viewer: UserId,
    targets: &[UserId],
) -> Result<Versioned<Vec<Relation>>, Error> {
    let rows: Vec<LinkRow> = sqlx::query_as(sql::RELATIONS)
        .bind(viewer.uuid())
        .bind(uuids(targets))
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let as_of = head_of(&rows)?;
    let (_, relations) = rows::sort_links(rows);
    let of = |target: &UserId| relations.get(&target.uuid()).copied().unwrap_or_default();
    Ok(Versioned::exact(targets.iter().map(of).collect(), as_of))
}

async fn list(connection: &mut PgConnection, page: &Page) -> Result<Versioned<Vec<ListRow>>, Error> {
    let statement = match page.kind {
        ListKind::Followers => sql::FOLLOWERS,
        ListKind::Following => sql::FOLLOWING,
        ListKind::Mutes => sql::MUTES,
        ListKind::Blocks => sql::BLOCKS,
        ListKind::RequestsReceived => sql::REQUESTS_RECEIVED,
        ListKind::RequestsSent => sql::REQUESTS_SENT,
    };
    let rows: Vec<EdgeRow> = sqlx::query_as(statement)
        .bind(page.user.uuid())
        .bind(below(page.before))
        .bind(number(page.limit))
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let as_of = rows.first().map(|row| token(row.epoch, row.revision)).ok_or_else(no_head)?;
    Ok(Versioned::exact(rows.into_iter().filter_map(EdgeRow::into_list_row).collect(), as_of))
}

fn head_of(rows: &[LinkRow]) -> Result<Token, Error> {
    rows.first().map(|row| token(row.epoch, row.head)).ok_or_else(no_head)
}

fn uuids(users: &[UserId]) -> Vec<Uuid> {
    users.iter().map(|user| user.uuid()).collect()
}

/// The parameter of a position; everything is below none.
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

/// Begins the span of a statement, or of the transaction of an answer; it waits for a connection, too.
fn db_span(operation: &'static str, parent: &Parent) -> Span {
    db(Database::PostgreSql, operation, parent)
}

/// The server's own limit counts per statement and not for connecting; this one counts for all of it.
async fn in_time<T>(within: Duration, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    with_timeout(within, read, || Error::TimedOut).await
}

#[cfg(test)]
mod tests;
