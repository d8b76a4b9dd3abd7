//! The log head: the newest event of the outbox, and the row that every writer locks first.
//!
//! Commits do not change that row (`log_lock`): while a snapshot is open, PostgreSQL would keep every version of it, and
//! each reader of the head would scan them.

use proto::{Epoch, Revision, Token};
use service_kit::clock::TOLERANCE;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

/// The advisory lock of the process that ends what has run out, for one transaction. All of them look for it, and would
/// queue for the head.
const EXPIRY: i64 = 7_166_105_004;

/// The newest revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The history.
    pub epoch: Epoch,
    /// The newest revision; 0 before the first.
    pub revision: Revision,
    /// Its event.
    pub event_id: Option<Uuid>,
    /// The date of the next commit, see [`date_of_commit`]. Not for what cannot be undone.
    pub now: OffsetDateTime,
    /// The database's clock when it was read.
    pub clock: OffsetDateTime,
}

impl Head {
    /// The token of the head.
    pub fn token(&self) -> Token {
        Token::new(self.epoch, self.revision)
    }
}

/// The date of a commit: PostgreSQL's clock, but not before the last commit, so that dates have the order of revisions. A
/// last commit that is further ahead than the tolerance was dated by a wrong clock, and is ignored.
pub fn date_of_commit(clock: OffsetDateTime, last: OffsetDateTime) -> OffsetDateTime {
    if last - clock > TOLERANCE { clock } else { clock.max(last) }
}

type Row = (i64, i64, Option<Uuid>, OffsetDateTime, OffsetDateTime);

fn from_row((epoch, revision, event_id, updated_at, clock): Row) -> Head {
    Head {
        epoch: Epoch::from_i64(epoch),
        revision: Revision::from_i64(revision),
        event_id,
        now: date_of_commit(clock, updated_at),
        clock,
    }
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

/// The same for the end of what has run out; none if another process is at it.
pub async fn begin_locked_for_expiry(
    connection: &mut PgConnection,
) -> Result<Option<Transaction<'_, Postgres>>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let alone: bool = sqlx::query_scalar("-- head_lock_for_expiry\nSELECT pg_try_advisory_xact_lock($1)")
        .bind(EXPIRY)
        .fetch_one(&mut *transaction)
        .await?;
    if !alone {
        transaction.rollback().await?;
        return Ok(None);
    }
    sqlx::query("-- head_lock\nSELECT FROM log_lock FOR UPDATE").execute(&mut *transaction).await?;
    Ok(Some(transaction))
}

/// The same for commands, which are refused on a forked history; none if it is one.
pub async fn begin_locked_for_commands(
    connection: &mut PgConnection,
) -> Result<Option<Transaction<'_, Postgres>>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let forked: bool =
        sqlx::query_scalar("-- head_lock_for_commands\nSELECT fork IS NOT NULL FROM log_lock FOR UPDATE")
            .fetch_one(&mut *transaction)
            .await?;
    if forked {
        transaction.rollback().await?;
        return Ok(None);
    }
    Ok(Some(transaction))
}

/// State of the history other than its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its number.
    pub epoch: Epoch,
    /// The database that holds it.
    pub database_id: Uuid,
    /// What the relay found if the stream holds another history of this epoch.
    pub fork: Option<String>,
    /// The streams of epochs before this one were given up by an operator.
    pub replace_streams_before: Epoch,
}

/// Reads what is known of the history.
pub async fn history(connection: &mut PgConnection) -> Result<History, sqlx::Error> {
    let (epoch, database_id, fork, replace): (i64, Uuid, Option<String>, i64) =
        sqlx::query_as("-- history\nSELECT epoch, database_id, fork, replace_streams_before FROM log_lock")
            .fetch_one(connection)
            .await?;
    Ok(History {
        epoch: Epoch(epoch.unsigned_abs()),
        database_id,
        fork,
        replace_streams_before: Epoch(replace.unsigned_abs()),
    })
}

/// Records a fork, so that every process refuses commands until a recovery, also after a restart.
pub async fn record_fork(
    connection: &mut PgConnection,
    epoch: Epoch,
    problem: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("-- record_fork\nUPDATE log_lock SET fork = $1 WHERE fork IS NULL AND epoch = $2")
        .bind(problem)
        .bind(i64::try_from(epoch.0).unwrap_or(i64::MAX))
        .execute(connection)
        .await
        .map(|_| ())
}

/// Which database this is.
pub async fn database_id(connection: &mut PgConnection) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar("-- database_id\nSELECT database_id FROM log_head").fetch_one(connection).await
}

/// Reads the head without locking it.
pub async fn get(connection: &mut PgConnection) -> Result<Head, sqlx::Error> {
    sqlx::query_as(
        "-- head_get
         SELECT epoch, revision, event_id, updated_at, clock_timestamp() FROM log_head",
    )
    .fetch_one(connection)
    .await
    .map(from_row)
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn a_commit_dated_in_the_future_does_not_shift_later_dates() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(400);
        let second = Duration::SECOND;
        assert_eq!(date_of_commit(now, now - second), now);
        assert_eq!(date_of_commit(now, now + second), now + second, "dates have the order of revisions");
        assert_eq!(date_of_commit(now, now + Duration::days(3)), now);
    }
}
