//! Events from the outbox in PostgreSQL, for what the stream does not deliver.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use proto::{Epoch, Revision, Token};
use service_kit::postgres::{acquire, limit_statements};
use service_kit::with_timeout;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use uuid::Uuid;

use crate::position::LogPosition;

/// Limits of one page: events, and bytes of their payloads. A page has at least one event.
const PAGE_EVENTS: i64 = 64;
const PAGE_BYTES: i64 = 1024 * 1024;
/// Timeout of one page. The server has its own limits; this one covers a connection that died silently.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

const HEAD: &str = "-- event_log_head
SELECT epoch, revision, event_id FROM log_head";

const AFTER: &str = "-- event_log_after
SELECT revision, payload, traceparent FROM (
    SELECT revision, payload, traceparent,
           sum(octet_length(payload)) OVER (ORDER BY revision) - octet_length(payload) AS bytes_before
    FROM (
        SELECT revision, payload, traceparent FROM outbox
        WHERE epoch = $1 AND revision > $2 ORDER BY revision LIMIT $3
    ) events
) page WHERE bytes_before < $4 ORDER BY revision";

const OLDEST: &str = "-- event_log_oldest
SELECT min(revision) FROM outbox WHERE epoch = $1";

/// A failed read of the outbox; another attempt may succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL did not answer in time.
    #[error("PostgreSQL does not answer")]
    TimedOut,
    /// PostgreSQL failed.
    #[error("cannot read from PostgreSQL")]
    Failed(#[from] sqlx::Error),
}

/// An event that was not decoded yet.
#[derive(Debug)]
pub struct Row {
    /// Its revision.
    pub revision: Revision,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// W3C trace context of the command.
    pub traceparent: Option<String>,
}

/// Limits how often pages of the outbox are read.
pub trait Admission: Debug + Send + Sync {
    /// Admits one page, or answers how long to wait before the next attempt.
    fn admit(&self) -> Result<(), Duration>;
}

/// Reads the outbox.
#[derive(Clone, Debug)]
pub struct Outbox {
    pool: PgPool,
    admission: Option<Arc<dyn Admission>>,
}

impl Outbox {
    /// Reads over this pool.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, admission: None }
    }

    /// Pages of this outbox wait until they are admitted.
    #[must_use]
    pub fn admitted_by(self, admission: Arc<dyn Admission>) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// The newest committed position.
    pub async fn head(&self) -> Result<LogPosition, Error> {
        let read = async { read_head(&mut self.connection().await?).await };
        with_timeout(PAGE_TIMEOUT, read, || Error::TimedOut).await
    }

    /// The head, and a page of the events after a position. The head is read first: the events up to it are there when
    /// the page is read.
    pub async fn page_after(&self, last: Token) -> Result<(LogPosition, Vec<Row>), Error> {
        self.wait_for_admission().await;
        let read = async {
            let mut connection = self.connection().await?;
            let head = read_head(&mut connection).await?;
            let rows: Vec<(i64, Vec<u8>, Option<String>)> = sqlx::query_as(AFTER)
                .bind(last.epoch.as_i64())
                .bind(last.revision.as_i64())
                .bind(PAGE_EVENTS)
                .bind(PAGE_BYTES)
                .fetch_all(&mut *connection)
                .await?;
            let row = |(revision, payload, traceparent)| Row {
                revision: Revision::from_i64(revision),
                payload,
                traceparent,
            };
            Ok((head, rows.into_iter().map(row).collect()))
        };
        with_timeout(PAGE_TIMEOUT, read, || Error::TimedOut).await
    }

    /// The oldest event that the outbox holds.
    pub async fn oldest(&self, epoch: Epoch) -> Result<Option<Revision>, Error> {
        let read = async {
            let mut connection = self.connection().await?;
            let oldest: Option<i64> =
                sqlx::query_scalar(OLDEST).bind(epoch.as_i64()).fetch_one(&mut *connection).await?;
            Ok(oldest.map(Revision::from_i64))
        };
        with_timeout(PAGE_TIMEOUT, read, || Error::TimedOut).await
    }

    async fn wait_for_admission(&self) {
        let Some(admission) = &self.admission else { return };
        while let Err(pause) = admission.admit() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Other users of the pool may have left their own limits on the session.
    async fn connection(&self) -> Result<PoolConnection<Postgres>, Error> {
        let mut connection = acquire(&self.pool).await?;
        limit_statements(&mut connection, PAGE_TIMEOUT).await?;
        Ok(connection)
    }
}

async fn read_head(connection: &mut PoolConnection<Postgres>) -> Result<LogPosition, Error> {
    let (epoch, revision, event_id): (i64, i64, Option<Uuid>) =
        sqlx::query_as(HEAD).fetch_one(&mut **connection).await?;
    Ok(LogPosition { epoch: Epoch::from_i64(epoch), revision: Revision::from_i64(revision), event_id })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use sqlx::postgres::PgPoolOptions;

    use super::*;

    /// Refuses the first two pages.
    #[derive(Debug, Default)]
    struct Third(AtomicU32);

    impl Admission for Third {
        fn admit(&self) -> Result<(), Duration> {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Err(Duration::from_millis(1)),
                _ => Ok(()),
            }
        }
    }

    #[tokio::test]
    async fn a_page_waits_until_it_is_admitted() {
        let third = Arc::new(Third::default());
        let pool = PgPoolOptions::new()
            .acquire_timeout(Duration::from_millis(20))
            .connect_lazy("postgres://nobody@127.0.0.1:1/nothing")
            .expect("nothing is opened yet");
        let outbox = Outbox::new(pool).admitted_by(Arc::clone(&third) as _);
        let read = outbox.page_after(Token::new(Epoch(1), Revision(7))).await;
        assert!(matches!(read, Err(Error::Failed(_))), "{read:?}");
        assert_eq!(third.0.load(Ordering::Relaxed), 3);
    }
}
