//! The SQL of this service: the only files that know it.
//!
//! Functions take a connection; the caller owns the transaction. They know tables
//! and the domain's types, nothing of gRPC or NATS. What can go wrong is
//! [`sqlx::Error`]; [`is_transient`] tells which ones a later try may cure.

pub mod chunks;
pub mod clock;
pub mod edges;
pub mod head;
pub mod job_cursor;
pub mod jobs;
pub mod load;
pub mod outbox;
pub mod partitions;
pub mod probe;
pub mod projectors;
pub mod recent;
pub mod replacement;
pub mod replies;
pub mod save;
pub mod targets;

use std::time::Duration;

use service_kit::postgres::says_read_only;
use service_kit::with_timeout;
use sqlx::{Postgres, Transaction};

/// Longest timeout for statements and for locks that the settings may ask PostgreSQL for.
pub const LONGEST_SERVER_TIMEOUT: Duration = Duration::from_secs(12);

/// Longer than PostgreSQL's timeouts, see [`LONGEST_SERVER_TIMEOUT`]: it ends the wait for a host that is gone, and work
/// of several statements, each of which stays below PostgreSQL's timeout.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why work did not succeed, in place of an answer of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Late {
    /// It is not known whether PostgreSQL is there.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    NoAnswer,
    /// PostgreSQL is there and was too slow.
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

/// Ends the wait for a server that does not answer at all, and for work that takes too long.
pub async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    with_timeout(TIMEOUT, work, || Late::NoAnswer.error()).await
}

/// Rolls back a transaction whose work failed, and answers why it failed.
///
/// Work that [`within`] ended is in the middle of a statement. PostgreSQL would go on with it, and keep the lock on the
/// head meanwhile: so this waits for its end, which PostgreSQL's own timeout brings. A connection that answers was slow,
/// which [`is_timeout`] counts; one that does not is gone, and the pool closes it.
pub async fn give_up(transaction: Transaction<'_, Postgres>, error: sqlx::Error) -> sqlx::Error {
    if Late::of(&error).is_none() {
        // Dropped, which rolls it back.
        return error;
    }
    match tokio::time::timeout(TIMEOUT, transaction.rollback()).await {
        Ok(Ok(())) => Late::TooSlow.error(),
        // The outcome of that statement.
        Ok(Err(error)) => error,
        Err(_) => error,
    }
}

/// A statement ran into PostgreSQL's timeout for statements or for locks, or the statements of a transaction were too
/// slow together. The same transaction would be so again.
pub fn is_timeout(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "57014" || code == "55P03") || Late::of(error) == Some(Late::TooSlow)
}

/// There is no partition for the date of a row. A check of a table has a name, this has none.
pub fn misses_partition(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|e| e.code().as_deref() == Some("23514") && e.constraint().is_none())
}

/// The server was not there, went away, or asked to try again. Everything else is a
/// fault of ours or of the data, and repeating it would not help.
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
        error if says_read_only(error) => true,
        // Class 08 connection, 40 rollback, 53 resources, 55 lock timeout, 57
        // shutdown or cancel, 25P03 idle in transaction too long.
        // The upkeep makes a missing partition at once.
        sqlx::Error::Database(_) if misses_partition(error) => true,
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
    async fn only_a_server_that_is_there_counts_as_slow() {
        let error = within(std::future::pending::<Result<(), _>>()).await.expect_err("no answer");
        assert_eq!(Late::of(&error), Some(Late::NoAnswer));
        assert!(is_transient(&error) && !is_timeout(&error), "it may be gone");
        assert!(is_timeout(&Late::TooSlow.error()));
        let of_the_network = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        assert!(is_transient(&of_the_network) && !is_timeout(&of_the_network));
    }

    #[test]
    fn the_timeouts_of_postgresql_end_before_ours() {
        assert!(LONGEST_SERVER_TIMEOUT + Duration::from_secs(2) < TIMEOUT);
    }
}
