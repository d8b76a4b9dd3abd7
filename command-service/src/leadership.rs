//! One replica at a time: session-level advisory locks in PostgreSQL.
//!
//! They spare work done twice; they are not what keeps the data right. Two leaders,
//! which a slow network can make for a moment, do no harm: the stream takes each
//! revision once, and every writer decides under the lock on the head.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};

/// What there is one leader for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Publishing the outbox.
    Relay,
    /// Jobs and expiries.
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
pub struct Leadership(PgConnection);

impl Leadership {
    /// Takes the lock if nobody holds it.
    pub async fn try_take(pool: &PgPool, role: Role) -> Result<Option<Self>, sqlx::Error> {
        let mut connection = service_kit::postgres::acquire(pool).await?.detach();
        let taken: bool = sqlx::query_scalar("-- lead\nSELECT pg_try_advisory_lock($1)")
            .bind(role.key())
            .fetch_one(&mut connection)
            .await?;
        Ok(taken.then_some(Self(connection)))
    }

    /// Fails if the lock's session is gone.
    pub async fn check(&mut self) -> Result<(), sqlx::Error> {
        match tokio::time::timeout(Duration::from_secs(5), self.0.ping()).await {
            Ok(result) => result,
            Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
        }
    }
}
