//! Events from the outbox, for what the stream does not give.
//!
//! Owns: the SQL of it. It must not know NATS.
//! What can go wrong: the source of truth is away or slow; another attempt may help.

use std::time::Duration;

use proto::{Epoch, Revision, Token};
use service_kit::postgres::{acquire, limit_statements};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use uuid::Uuid;

use super::Mark;

/// Events read at once: a few megabytes at most.
const PAGE: i64 = 64;
/// Longest wait for one page; the database has its own limits, this one covers a connection that died silently.
const PATIENCE: Duration = Duration::from_secs(5);

const HEAD: &str = "-- feed_head
SELECT epoch, revision, event_id FROM log_head";

const AFTER: &str = "-- feed_events_after
SELECT revision, payload FROM outbox WHERE epoch = $1 AND revision > $2 ORDER BY revision LIMIT $3";

const OLDEST: &str = "-- feed_oldest_event
SELECT min(revision) FROM outbox WHERE epoch = $1";

/// The outbox did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// In time.
    #[error("PostgreSQL does not answer")]
    TimedOut,
    /// It failed.
    #[error("cannot read from PostgreSQL")]
    Failed(#[from] sqlx::Error),
}

/// An event that was not read yet.
#[derive(Debug)]
pub struct Row {
    /// Its revision.
    pub revision: Revision,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Reads the outbox.
#[derive(Clone, Debug)]
pub struct Outbox {
    pool: PgPool,
}

impl Outbox {
    /// Reads over this pool.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The pool is shared with reads that have limits of their own, and leave them behind.
    async fn connection(&self) -> Result<PoolConnection<Postgres>, Error> {
        let mut connection = acquire(&self.pool).await?;
        limit_statements(&mut connection, PATIENCE).await?;
        Ok(connection)
    }

    /// The head, and some of the events after a point. The head comes first: the events that it counts are there when
    /// the page is read.
    pub async fn after(&self, last: Token) -> Result<(Mark, Vec<Row>), Error> {
        in_time(async {
            let mut connection = self.connection().await?;
            let (epoch, revision, event_id): (i64, i64, Option<Uuid>) =
                sqlx::query_as(HEAD).fetch_one(&mut *connection).await?;
            let epoch = Epoch::from_i64(epoch);
            let head = Mark { at: Token::new(epoch, Revision::from_i64(revision)), event_id };
            let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(AFTER)
                .bind(last.epoch.as_i64())
                .bind(last.revision.as_i64())
                .bind(PAGE)
                .fetch_all(&mut *connection)
                .await?;
            let row = |(revision, payload)| Row { revision: Revision::from_i64(revision), payload };
            Ok((head, rows.into_iter().map(row).collect()))
        })
        .await
    }

    /// The oldest event that is still there.
    pub async fn oldest(&self, epoch: Epoch) -> Result<Option<Revision>, Error> {
        in_time(async {
            let mut connection = self.connection().await?;
            let oldest: Option<i64> =
                sqlx::query_scalar(OLDEST).bind(epoch.as_i64()).fetch_one(&mut *connection).await?;
            Ok(oldest.map(Revision::from_i64))
        })
        .await
    }
}

async fn in_time<T>(read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(PATIENCE, read).await.unwrap_or(Err(Error::TimedOut))
}
