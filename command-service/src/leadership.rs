//! One replica at a time: session-level advisory locks in PostgreSQL.
//!
//! They spare work done twice; they are not what keeps the data right. Two leaders,
//! which a slow network can make for a moment, do no harm: the stream takes each
//! revision once, and every writer decides under the lock on the head.

use std::time::Duration;

use service_kit::postgres::{NoSession, check_writable};
use sqlx::{PgConnection, PgPool};

use crate::store::within;

/// An advisory lock of one number shows as its two halves.
const HELD: &str = "-- led
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = $1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

/// The same, by this session.
const OURS: &str = "-- leads
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = $1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND granted AND pid = pg_backend_pid())";

/// What there is one leader for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Publishing the outbox.
    Relay,
    /// Jobs.
    Worker,
}

impl Role {
    /// The lock's number in the database.
    fn key(self) -> i64 {
        match self {
            Self::Relay => 7_166_105_002,
            Self::Worker => 7_166_105_003,
        }
    }
}

/// Held for as long as its connection lives.
pub struct Leadership {
    connection: PgConnection,
    role: Role,
}

impl Leadership {
    /// Takes the lock if nobody holds it.
    pub async fn try_take(pool: &PgPool, role: Role) -> Result<Option<Self>, sqlx::Error> {
        within(async {
            let mut connection = service_kit::postgres::acquire(pool).await?;
            // A standby grants advisory locks too, in a space of its own: it would make a second leader.
            check_writable(&mut connection).await?;
            let held: bool = sqlx::query_scalar(HELD).bind(role.key()).fetch_one(&mut *connection).await?;
            if held {
                return Ok(None);
            }
            // Out of the pool before the lock is asked for: it must not go back there with a lock that nobody knows of.
            let mut connection = connection.detach();
            let taken: bool = sqlx::query_scalar("-- lead\nSELECT pg_try_advisory_lock($1)")
                .bind(role.key())
                .fetch_one(&mut connection)
                .await?;
            Ok(taken.then_some(Self { connection, role }))
        })
        .await
    }

    /// Fails if the lock's session is gone or somebody else's, or its server is not the primary any more.
    pub async fn check(&mut self) -> Result<(), sqlx::Error> {
        match tokio::time::timeout(Duration::from_secs(5), self.still_leads()).await {
            Ok(result) => result,
            Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
        }
    }

    async fn still_leads(&mut self) -> Result<(), sqlx::Error> {
        check_writable(&mut self.connection).await?;
        let ours: bool =
            sqlx::query_scalar(OURS).bind(self.role.key()).fetch_one(&mut self.connection).await?;
        // Only a pooler that exchanges sessions can have taken it away from an open connection.
        if ours { Ok(()) } else { Err(std::io::Error::other(NoSession).into()) }
    }
}
