//! Timeouts of work in PostgreSQL, and which errors a retry may cure.

use std::time::Duration;

use service_kit::postgres::is_read_only_error;
use service_kit::with_timeout;
use sqlx::{Postgres, Transaction};

/// Upper bound of PostgreSQL's timeouts in the settings.
pub const LONGEST_SERVER_TIMEOUT: Duration = Duration::from_secs(12);

/// Exceeds PostgreSQL's timeouts, see [`LONGEST_SERVER_TIMEOUT`]. Ends the wait for a host that is gone, and work of
/// several statements that each stay below PostgreSQL's timeout.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Timeouts of this process, in place of an error of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Late {
    /// PostgreSQL may be down.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    NoAnswer,
    /// PostgreSQL is up but was too slow.
    #[error("the statements together took longer than {} s", TIMEOUT.as_secs())]
    TooSlow,
}

impl Late {
    fn error(self) -> sqlx::Error {
        std::io::Error::new(std::io::ErrorKind::TimedOut, self).into()
    }

    fn of(error: &sqlx::Error) -> Option<Self> {
        match error {
            sqlx::Error::Io(error) => error.get_ref()?.downcast_ref().copied(),
            _ => None,
        }
    }
}

/// Fails work that takes longer than 15 seconds.
pub async fn within<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    with_timeout(TIMEOUT, work, || Late::NoAnswer.error()).await
}

/// Rolls back a transaction whose work failed, and returns the cause.
///
/// Work that [`within`] ended is in the middle of a statement. PostgreSQL would continue it and keep the lock on the
/// head, so this waits for the statement, which PostgreSQL's own timeout ends. If the connection answers then, it was
/// slow, which [`is_timeout`] recognizes. If not, its host is gone, and the pool closes the connection.
pub async fn give_up(transaction: Transaction<'_, Postgres>, error: sqlx::Error) -> sqlx::Error {
    if Late::of(&error).is_none() {
        // The drop rolls back.
        return error;
    }
    match tokio::time::timeout(TIMEOUT, transaction.rollback()).await {
        Ok(Ok(())) => Late::TooSlow.error(),
        // The error of that statement.
        Ok(Err(error)) => error,
        Err(_) => error,
    }
}

/// Commits a transaction whose work succeeded; otherwise gives it up and returns the cause.
pub async fn finish<T>(transaction: Transaction<'_, Postgres>, outcome: sqlx::Result<T>) -> sqlx::Result<T> {
    match outcome {
        Ok(value) => within(transaction.commit()).await.map(|()| value),
        Err(error) => Err(give_up(transaction, error).await),
    }
}

/// Whether a statement ran into PostgreSQL's statement or lock timeout, or a transaction exceeded [`TIMEOUT`]. A retry
/// of the same transaction would time out again.
pub fn is_timeout(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "57014" || code == "55P03") || Late::of(error) == Some(Late::TooSlow)
}

/// Whether the partition of a row is missing. Unlike a table's check, this error has no constraint name.
pub fn misses_partition(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|e| e.code().as_deref() == Some("23514") && e.constraint().is_none())
}

/// Whether a retry may succeed: the server was down, closed the connection, or asked for a retry. Any other error is a
/// fault of this service or of the data.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::BeginFailed => true,
        // A standby: the pool closes the session, and the next one may reach the primary.
        error if is_read_only_error(error) => true,
        // The maintenance creates a missing partition at once.
        sqlx::Error::Database(_) if misses_partition(error) => true,
        // Class 08 connection, 40 rollback, 53 resources, 55 lock timeout, 57 shutdown or cancel, 25P03 idle in
        // transaction.
        sqlx::Error::Database(e) => e.code().is_some_and(|code| {
            ["08", "40", "53", "55", "57"].contains(&&code[..2.min(code.len())]) || code == "25P03"
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_not_slow() {
        let error = within(std::future::pending::<Result<(), _>>()).await.expect_err("no answer");
        assert_eq!(Late::of(&error), Some(Late::NoAnswer));
        assert!(is_transient(&error) && !is_timeout(&error), "it may be down");
        assert!(is_timeout(&Late::TooSlow.error()));
        let of_the_network = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        assert!(is_transient(&of_the_network) && !is_timeout(&of_the_network));
    }

    #[test]
    fn our_timeout_exceeds_those_of_postgresql() {
        assert!(LONGEST_SERVER_TIMEOUT + Duration::from_secs(2) < TIMEOUT);
    }
}
