//! PostgreSQL's clock, and the record of trust in it.

use sqlx::PgConnection;
use time::OffsetDateTime;

/// The row of the table `clock`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// PostgreSQL's clock when a command-service last trusted it.
    pub seen_at: Option<OffsetDateTime>,
    /// A jump that an operator has to accept.
    pub jumped: Option<String>,
    /// The clock is distrusted: partition drops wait.
    pub suspended: bool,
    /// How often an operator has accepted the clock.
    pub accepted: i64,
}

/// Reads PostgreSQL's time of day.
pub async fn now(connection: &mut PgConnection) -> sqlx::Result<OffsetDateTime> {
    sqlx::query_scalar("-- clock_now\nSELECT clock_timestamp()").fetch_one(connection).await
}

/// Reads PostgreSQL's time of day and the record.
pub async fn read(connection: &mut PgConnection) -> sqlx::Result<(OffsetDateTime, Record)> {
    let (now, seen_at, jumped, suspended, accepted) = sqlx::query_as(
        "-- clock_read
         SELECT clock_timestamp(), seen_at, jumped, trusted_since = 'infinity', accepted FROM clock",
    )
    .fetch_one(connection)
    .await?;
    Ok((now, Record { seen_at, jumped, suspended, accepted }))
}

/// Records that the clock is still trusted.
pub async fn seen(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("-- clock_seen\nUPDATE clock SET seen_at = clock_timestamp()")
        .execute(connection)
        .await
        .map(|_| ())
}

/// Records that the clock is trusted again, unless an operator has accepted it since the record was read.
pub async fn trust(connection: &mut PgConnection, accepted: i64) -> sqlx::Result<()> {
    sqlx::query(
        "-- clock_trust
         UPDATE clock SET seen_at = clock_timestamp(), jumped = NULL, trusted_since = clock_timestamp()
         WHERE accepted = $1",
    )
    .bind(accepted)
    .execute(connection)
    .await
    .map(|_| ())
}

/// Records that the clock is not trusted, and a jump if there was one, unless an operator has accepted the clock since
/// the record was read.
pub async fn distrust(
    connection: &mut PgConnection,
    jumped: Option<&str>,
    accepted: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- clock_distrust
         UPDATE clock SET trusted_since = 'infinity', jumped = coalesce(jumped, $1) WHERE accepted = $2",
    )
    .bind(jumped)
    .bind(accepted)
    .execute(connection)
    .await
    .map(|_| ())
}
