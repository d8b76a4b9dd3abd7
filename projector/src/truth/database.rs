//! The connection to PostgreSQL, and reads that need no range.

use event_log::LogPosition;
use proto::{Epoch, Revision};
use service_kit::postgres::acquire;
use sqlx::PgPool;
use uuid::Uuid;

/// A failed read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read from PostgreSQL")]
pub struct Error(#[from] sqlx::Error);

impl Error {
    /// The reason for the operator, without the address.
    pub fn problem(&self) -> String {
        service_kit::postgres::problem(&self.0)
    }
}

/// The source of truth.
#[derive(Debug, Clone)]
pub struct Truth {
    pub(super) pool: PgPool,
}

pub(super) const HEAD: &str = "-- projector_head
SELECT epoch, revision, event_id FROM log_head";

const DATABASE_ID: &str = "-- projector_database_id
SELECT database_id FROM log_head";

const EVENT_ID: &str = "-- projector_event_id
SELECT event_id FROM outbox WHERE epoch = $1 AND revision = $2";

const HEAP_BYTES: &str = "-- projector_heap_bytes
SELECT (pg_relation_size('follows') + pg_relation_size('mutes') + pg_relation_size('blocks')
      + pg_relation_size('follow_requests'))::bigint";

/// Bytes of a row of an edge table, roughly.
const ROW_BYTES: u64 = 92;

impl Truth {
    /// Reads through `pool`.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Fails unless the schema is the one that this program needs, and the sessions are its own.
    pub async fn check_schema(&self) -> Result<(), migrations::Error> {
        // First, because prepared statements fail in sessions that a pooler shares.
        service_kit::postgres::check_sessions(&self.pool).await?;
        migrations::check_postgres(&self.pool).await
    }

    /// The newest committed revision.
    pub async fn head(&self) -> Result<LogPosition, Error> {
        let mut connection = acquire(&self.pool).await?;
        let row: (i64, i64, Option<Uuid>) = sqlx::query_as(HEAD).fetch_one(&mut *connection).await?;
        Ok(position(row))
    }

    /// The `database_id`. A restored copy keeps it.
    pub async fn database_id(&self) -> Result<Uuid, Error> {
        let mut connection = acquire(&self.pool).await?;
        Ok(sqlx::query_scalar(DATABASE_ID).fetch_one(&mut *connection).await?)
    }

    /// The event at a revision; `None` if the outbox does not hold it.
    pub async fn event_id(&self, epoch: Epoch, revision: Revision) -> Result<Option<Uuid>, Error> {
        let mut connection = acquire(&self.pool).await?;
        Ok(sqlx::query_scalar(EVENT_ID)
            .bind(epoch.as_i64())
            .bind(revision.as_i64())
            .fetch_optional(&mut *connection)
            .await?)
    }

    /// The approximate number of edges, for a progress figure. Cheap at any size.
    pub async fn estimated_edges(&self) -> Result<u64, Error> {
        let mut connection = acquire(&self.pool).await?;
        let bytes: i64 = sqlx::query_scalar(HEAP_BYTES).fetch_one(&mut *connection).await?;
        Ok(u64::try_from(bytes).unwrap_or(0) / ROW_BYTES)
    }
}

/// A row of [`HEAD`].
pub(super) fn position((epoch, revision, event_id): (i64, i64, Option<Uuid>)) -> LogPosition {
    let epoch = Epoch::from_i64(epoch);
    LogPosition { epoch, revision: Revision::from_i64(revision), event_id }
}
