//! One leader per role: session-level advisory locks in PostgreSQL.
//!
//! They avoid duplicate work; correctness does not depend on them. Two leaders, which a slow network can cause for a
//! moment, do no harm: the stream takes each revision once, and every writer decides under the lock on the head.

use std::time::Duration;

use service_kit::postgres::{SharedSession, check_writable};
use service_kit::with_timeout;
use sqlx::{PgConnection, PgPool};

use crate::store::within;

/// Whether any session holds the lock. pg_locks shows the number of an advisory lock in two halves.
const HELD: &str = "-- led
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = $1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

/// Whether this session holds the lock.
const OURS: &str = "-- leads
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = $1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND granted AND pid = pg_backend_pid())";

/// Work of which only one process at a time is the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Publishes the outbox.
    Relay,
    /// Executes jobs.
    Worker,
}

impl Role {
    /// Number of the advisory lock.
    fn key(self) -> i64 {
        match self {
            Self::Relay => 7_166_105_002,
            Self::Worker => 7_166_105_003,
        }
    }
}

/// The lock, held as long as its connection lives.
pub struct Leadership {
    connection: PgConnection,
    role: Role,
}

impl Leadership {
    /// Takes the lock; `None` if another session holds it.
    pub async fn try_take(pool: &PgPool, role: Role) -> sqlx::Result<Option<Self>> {
        within(async {
            let mut connection = service_kit::postgres::acquire(pool).await?;
            // A standby grants advisory locks of its own, which would make a second leader.
            check_writable(&mut connection).await?;
            let held: bool = sqlx::query_scalar(HELD).bind(role.key()).fetch_one(&mut *connection).await?;
            if held {
                return Ok(None);
            }
            // Detached before the request: the connection must not return to the pool with the lock.
            let mut connection = connection.detach();
            let taken: bool = sqlx::query_scalar("-- lead\nSELECT pg_try_advisory_lock($1)")
                .bind(role.key())
                .fetch_one(&mut connection)
                .await?;
            Ok(taken.then_some(Self { connection, role }))
        })
        .await
    }

    /// Fails if the session has ended or lost the lock, or if its server is no longer the primary.
    pub async fn check(&mut self) -> sqlx::Result<()> {
        let late = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        with_timeout(Duration::from_secs(5), self.still_leads(), late).await
    }

    async fn still_leads(&mut self) -> sqlx::Result<()> {
        check_writable(&mut self.connection).await?;
        let ours: bool =
            sqlx::query_scalar(OURS).bind(self.role.key()).fetch_one(&mut self.connection).await?;
        // Only a pooler that shares sessions can take the lock from an open connection.
        if ours { Ok(()) } else { Err(std::io::Error::other(SharedSession).into()) }
    }
}
