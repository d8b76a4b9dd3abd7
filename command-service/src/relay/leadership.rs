//! One relay at a time: a session-level advisory lock in PostgreSQL.
//!
//! It spares the stream refusals; it is not what keeps the stream right. Two
//! leaders, which a slow network can make for a moment, do no harm: the stream takes
//! each revision once.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};

/// The lock's number in the database.
const KEY: i64 = 7_166_105_002;

/// Held for as long as its connection lives.
pub struct Leadership(PgConnection);

impl Leadership {
    /// Takes the lock if nobody holds it.
    pub async fn try_take(pool: &PgPool) -> Result<Option<Self>, sqlx::Error> {
        let mut connection = service_kit::postgres::acquire(pool).await?.detach();
        let taken: bool = sqlx::query_scalar("-- relay_lead\nSELECT pg_try_advisory_lock($1)")
            .bind(KEY)
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
