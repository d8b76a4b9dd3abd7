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
pub mod replacement;
pub mod replies;
pub mod save;
pub mod targets;

use std::time::Duration;

use service_kit::postgres::says_read_only;
use service_kit::with_timeout;

/// Longer than the timeouts that the server has by default: it ends the wait for a host that is gone.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Ends the wait for a server that does not answer at all.
pub async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    with_timeout(TIMEOUT, work, || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())).await
}

/// A statement ran into PostgreSQL's timeout for statements or for locks. The same transaction would run into it again.
pub fn is_timeout(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "57014" || code == "55P03")
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
