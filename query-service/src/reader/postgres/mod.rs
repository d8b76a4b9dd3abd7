//! Reads from the source of truth.
//!
//! Owns: the SQL of this crate. Head and rows come from one statement, and so from one snapshot. It must not know when
//! it is asked and when not.
//! What can go wrong: the server is away or slow, or its schema is not ours. The schema is checked before the first
//! use, not at start: this process must start while PostgreSQL is down. The server itself ends a statement whose
//! caller stops waiting.

mod export;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proto::{Epoch, Position, Revision, Token, UserId, timestamp};
use service_kit::postgres::acquire;
use sqlx::pool::PoolConnection;
use sqlx::{FromRow, PgPool, Postgres};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Counts, Error, ListKind, ListRow, Reader, Versioned};

pub use export::{EdgeTable, ExportRow, Exporter};

/// `query_canceled`: the statement's time was up.
const CANCELED: &str = "57014";

const HEAD: &str = "\
-- head
SELECT epoch, revision FROM log_head";

const CHECK: &str = "\
-- check
SELECT h.epoch, h.revision,
    ARRAY(SELECT following_id FROM follows WHERE follower_id = $1 AND following_id = ANY($2)) AS followed
FROM log_head h";

const FOLLOWERS: &str = "\
-- list_followers
SELECT h.epoch, h.revision, r.user_id, r.position, r.created_at
FROM log_head h
LEFT JOIN LATERAL (
    SELECT follower_id AS user_id, position, created_at FROM follows
    WHERE following_id = $1 AND position < $2
    ORDER BY position DESC LIMIT $3
) r ON true
ORDER BY r.position DESC";

const FOLLOWING: &str = "\
-- list_following
SELECT h.epoch, h.revision, r.user_id, r.position, r.created_at
FROM log_head h
LEFT JOIN LATERAL (
    SELECT following_id AS user_id, position, created_at FROM follows
    WHERE follower_id = $1 AND position < $2
    ORDER BY position DESC LIMIT $3
) r ON true
ORDER BY r.position DESC";

const COUNTS: &str = "\
-- counts
SELECT h.epoch, h.revision, a.user_id, a.followers, a.following
FROM log_head h LEFT JOIN accounts a ON a.user_id = ANY($1)";

/// Reads from PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresReader {
    pool: PgPool,
    checked: Arc<AtomicBool>,
}

#[derive(FromRow)]
struct HeadRow {
    epoch: i64,
    revision: i64,
}

#[derive(FromRow)]
struct CheckRow {
    epoch: i64,
    revision: i64,
    followed: Vec<Uuid>,
}

/// A row of a list beside the head; without one when the list is empty.
#[derive(FromRow)]
struct EdgeRow {
    epoch: i64,
    revision: i64,
    user_id: Option<Uuid>,
    position: Option<i64>,
    created_at: Option<OffsetDateTime>,
}

#[derive(FromRow)]
struct AccountRow {
    epoch: i64,
    revision: i64,
    user_id: Option<Uuid>,
    followers: Option<i64>,
    following: Option<i64>,
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

    /// Checks the schema unless that was done, and reads the head.
    pub async fn check_and_head(&self, within: Duration) -> Result<Token, Error> {
        let checked_and_read = async {
            if !self.checked.load(Ordering::Acquire) {
                migrations::check_postgres(&self.pool).await.map_err(Error::failed)?;
                self.checked.store(true, Ordering::Release);
            }
            let mut connection = self.connection(within).await?;
            let head: HeadRow = sqlx::query_as(HEAD).fetch_one(&mut *connection).await.map_err(failed)?;
            Ok(token(head.epoch, head.revision))
        };
        in_time(within, checked_and_read).await
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
        // The pool is used for such reads alone, so the setting of one never meets a statement that lacks its own.
        sqlx::query("-- limit_statements\nSELECT set_config('statement_timeout', $1, false)")
            .bind(within.as_millis().max(1).to_string())
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        Ok(connection)
    }
}

#[async_trait]
impl Reader for PostgresReader {
    async fn check(
        &self,
        viewer: UserId,
        targets: &[UserId],
        within: Duration,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        let read = async {
            let mut connection = self.connection(within).await?;
            let row: CheckRow = sqlx::query_as(CHECK)
                .bind(viewer.uuid())
                .bind(uuids(targets))
                .fetch_one(&mut *connection)
                .await
                .map_err(failed)?;
            let followed: HashSet<Uuid> = row.followed.into_iter().collect();
            let value = targets.iter().map(|target| followed.contains(&target.uuid())).collect();
            Ok(Versioned { value, as_of: token(row.epoch, row.revision) })
        };
        in_time(within, read).await
    }

    async fn list(
        &self,
        kind: ListKind,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        within: Duration,
    ) -> Result<Versioned<Vec<ListRow>>, Error> {
        let statement = match kind {
            ListKind::Followers => FOLLOWERS,
            ListKind::Following => FOLLOWING,
        };
        let read = async {
            let mut connection = self.connection(within).await?;
            let rows: Vec<EdgeRow> = sqlx::query_as(statement)
                .bind(user.uuid())
                .bind(before.map_or(i64::MAX, Position::as_i64))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
            let as_of = rows.first().map(|row| token(row.epoch, row.revision)).ok_or_else(no_head)?;
            let value = rows.into_iter().filter_map(EdgeRow::into_list_row).collect();
            Ok(Versioned { value, as_of })
        };
        in_time(within, read).await
    }

    async fn counts(&self, users: &[UserId], within: Duration) -> Result<Versioned<Vec<Counts>>, Error> {
        let read = async {
            let mut connection = self.connection(within).await?;
            let rows: Vec<AccountRow> = sqlx::query_as(COUNTS)
                .bind(uuids(users))
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
            let as_of = rows.first().map(|row| token(row.epoch, row.revision)).ok_or_else(no_head)?;
            let known: HashMap<Uuid, Counts> =
                rows.into_iter().filter_map(|row| Some((row.user_id?, row.counts()))).collect();
            let value =
                users.iter().map(|user| known.get(&user.uuid()).copied().unwrap_or_default()).collect();
            Ok(Versioned { value, as_of })
        };
        in_time(within, read).await
    }
}

impl EdgeRow {
    fn into_list_row(self) -> Option<ListRow> {
        Some(ListRow {
            user: UserId::new(self.user_id?)?,
            position: Position::from_i64(self.position?),
            created_at_millis: timestamp::to_millis(self.created_at?),
        })
    }
}

impl AccountRow {
    fn counts(&self) -> Counts {
        let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        Counts { followers: count(self.followers), following: count(self.following) }
    }
}

fn uuids(users: &[UserId]) -> Vec<Uuid> {
    users.iter().map(|user| user.uuid()).collect()
}

fn token(epoch: i64, revision: i64) -> Token {
    Token::new(Epoch(u64::try_from(epoch).unwrap_or(0)), Revision::from_i64(revision))
}

fn no_head() -> Error {
    Error::failed("the row of the log's head is missing")
}

fn failed(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code());
    if code.is_some_and(|code| code == CANCELED) { Error::TimedOut } else { Error::failed(error) }
}

/// The server's own limit counts per statement and not for connecting; this one counts for all of it.
async fn in_time<T>(within: Duration, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(within, read).await.unwrap_or(Err(Error::TimedOut))
}
