//! The log head: the newest event of the outbox, and the row that every writer locks first.
//!
//! Commits do not change that row (`log_lock`): while a snapshot is open, PostgreSQL would keep every version of it, and
//! each reader of the head would scan them.

use proto::{Epoch, Revision, Token};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
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
    /// The database's clock when it was read, and never before the last commit, so
    /// that dates order as revisions do.
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
    Head { epoch: Epoch::from_i64(epoch), revision: Revision::from_i64(revision), event_id, now }
}

/// Begins a transaction and locks the head until its end. What is read after it is as of
/// the lock.
///
/// Two statements, though one round trip would do: sqlx knows of a transaction only once
/// the statement that begins it has succeeded. A wait for the lock that fails or is given
/// up would leave the connection in a transaction that nobody ends.
pub async fn begin_locked(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("-- head_lock\nSELECT FROM log_lock FOR UPDATE").execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Which database this is.
pub async fn database_id(connection: &mut PgConnection) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar("-- database_id\nSELECT database_id FROM log_head").fetch_one(connection).await
}

/// Reads the head without locking it.
pub async fn get(connection: &mut PgConnection) -> Result<Head, sqlx::Error> {
    sqlx::query_as(
        "-- head_get
         SELECT epoch, revision, event_id, greatest(clock_timestamp(), updated_at) FROM log_head",
    )
    .fetch_one(connection)
    .await
    .map(from_row)
}
