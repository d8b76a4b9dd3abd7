//! The head of the log, which is the newest event of the outbox, and the row that every writer locks first.
//!
//! Commits do not change that row (`log_lock`): while a snapshot is open, PostgreSQL would keep every version of it,
//! and each reader of the head would scan them.

use proto::{Epoch, Revision, Token};
use service_kit::clock::TOLERANCE;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

/// The newest event of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The current epoch.
    pub epoch: Epoch,
    /// The newest revision; 0 before the first event.
    pub revision: Revision,
    /// Id of the newest event.
    pub event_id: Option<Uuid>,
    /// The date of the next commit, see [`date_of_commit`]. Must not decide about anything that cannot be undone.
    pub now: OffsetDateTime,
    /// The database's clock when it was read.
    pub clock: OffsetDateTime,
}

impl Head {
    /// Epoch and revision.
    pub fn token(&self) -> Token {
        Token::new(self.epoch, self.revision)
    }
}

/// The date of a commit: PostgreSQL's clock, but not before the last commit, so that dates have the order of revisions.
/// A last commit that is further ahead than the tolerance was dated by a wrong clock, and is ignored.
pub fn date_of_commit(clock: OffsetDateTime, last: OffsetDateTime) -> OffsetDateTime {
    if last - clock > TOLERANCE { clock } else { clock.max(last) }
}

/// Begins a transaction and locks the head until its end. Later reads see the state as of the lock.
///
/// Two statements, although one round trip would be enough: sqlx knows of a transaction only after the statement that
/// begins it has succeeded. If the wait for the lock failed or was cancelled, the connection would stay in a
/// transaction.
pub async fn begin_locked(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction).await?;
    Ok(transaction)
}

/// Like [`begin_locked`], to remove expired edges; `None` if another process is removing them. All processes look for
/// them, and would otherwise queue for the lock on the head.
pub async fn begin_locked_for_expiry(
    connection: &mut PgConnection,
) -> sqlx::Result<Option<Transaction<'_, Postgres>>> {
    let alone = "-- head_lock_for_expiry\nSELECT pg_try_advisory_xact_lock(7166105004)";
    let Some(mut transaction) = begin_if(connection, alone).await? else { return Ok(None) };
    lock(&mut transaction).await?;
    Ok(Some(transaction))
}

/// Like [`begin_locked`], for commands; `None` if the history is forked.
pub async fn begin_locked_for_commands(
    connection: &mut PgConnection,
) -> sqlx::Result<Option<Transaction<'_, Postgres>>> {
    begin_if(connection, "-- head_lock_for_commands\nSELECT fork IS NULL FROM log_lock FOR UPDATE").await
}

/// Begins a transaction; `None` if `condition`, its first statement, returns false.
async fn begin_if<'c>(
    connection: &'c mut PgConnection,
    condition: &'static str,
) -> sqlx::Result<Option<Transaction<'c, Postgres>>> {
    let mut transaction = connection.begin().await?;
    if sqlx::query_scalar(condition).fetch_one(&mut *transaction).await? {
        return Ok(Some(transaction));
    }
    transaction.rollback().await?;
    Ok(None)
}

async fn lock(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("-- head_lock\nSELECT FROM log_lock FOR UPDATE").execute(connection).await.map(|_| ())
}

/// The row of `log_lock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The current epoch.
    pub epoch: Epoch,
    /// Id of this database.
    pub database_id: Uuid,
    /// The relay's finding if the stream holds another history of this epoch.
    pub fork: Option<String>,
    /// An operator gave up the streams of epochs before this one.
    pub replace_streams_before: Epoch,
}

/// Reads `log_lock` without locking it.
pub async fn history(connection: &mut PgConnection) -> sqlx::Result<History> {
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

/// Records a fork: until a recovery, every process refuses commands, also after a restart.
pub async fn record_fork(connection: &mut PgConnection, epoch: Epoch, problem: &str) -> sqlx::Result<()> {
    sqlx::query("-- record_fork\nUPDATE log_lock SET fork = $1 WHERE fork IS NULL AND epoch = $2")
        .bind(problem)
        .bind(i64::try_from(epoch.0).unwrap_or(i64::MAX))
        .execute(connection)
        .await
        .map(|_| ())
}

/// Reads the id of this database.
pub async fn database_id(connection: &mut PgConnection) -> sqlx::Result<Uuid> {
    sqlx::query_scalar("-- database_id\nSELECT database_id FROM log_head").fetch_one(connection).await
}

/// Reads the head without locking it.
pub async fn get(connection: &mut PgConnection) -> sqlx::Result<Head> {
    let (epoch, revision, event_id, updated_at, clock) = sqlx::query_as(
        "-- head_get
         SELECT epoch, revision, event_id, updated_at, clock_timestamp() FROM log_head",
    )
    .fetch_one(connection)
    .await?;
    Ok(Head {
        epoch: Epoch::from_i64(epoch),
        revision: Revision::from_i64(revision),
        event_id,
        now: date_of_commit(clock, updated_at),
        clock,
    })
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
