//! The log head: the one row that every writer locks first.

use proto::{Epoch, Revision, Token};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// The newest revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The history.
    pub epoch: Epoch,
    /// The newest revision; 0 before the first.
    pub revision: Revision,
    /// Its event.
    pub event_id: Option<Uuid>,
    /// The database's clock when it was read.
    pub now: OffsetDateTime,
}

impl Head {
    /// The token of the head.
    pub fn token(&self) -> Token {
        Token::new(self.epoch, self.revision)
    }
}

type Row = (i64, i64, Option<Uuid>, OffsetDateTime);

fn from_row((epoch, revision, event_id, now): Row) -> Head {
    Head { epoch: Epoch(epoch.unsigned_abs()), revision: Revision::from_i64(revision), event_id, now }
}

/// Locks the head until the end of the transaction and reads it. It must be the
/// transaction's first statement: what is read after it is then as of the lock.
/// `clock_timestamp`, for the transaction may have waited long; never earlier than
/// the last commit, so that dates order as revisions do.
pub async fn lock(connection: &mut PgConnection) -> Result<Head, sqlx::Error> {
    sqlx::query_as(
        "-- head_lock
         SELECT epoch, revision, event_id, greatest(clock_timestamp(), updated_at)
         FROM log_head FOR UPDATE",
    )
    .fetch_one(connection)
    .await
    .map(from_row)
}

/// Reads the head without locking it.
pub async fn get(connection: &mut PgConnection) -> Result<Head, sqlx::Error> {
    sqlx::query_as("-- head_get\nSELECT epoch, revision, event_id, clock_timestamp() FROM log_head")
        .fetch_one(connection)
        .await
        .map(from_row)
}

/// Moves the head, which the transaction has locked.
pub async fn update(connection: &mut PgConnection, head: &Head) -> Result<(), sqlx::Error> {
    sqlx::query("-- head_update\nUPDATE log_head SET revision = $1, event_id = $2, updated_at = $3")
        .bind(head.revision.as_i64())
        .bind(head.event_id)
        .bind(head.now)
        .execute(connection)
        .await
        .map(|_| ())
}
