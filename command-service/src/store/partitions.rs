//! Daily partitions of the outbox and of the idempotency records.

use proto::Revision;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{Connection as _, PgConnection, Postgres};
use time::OffsetDateTime;

/// A table with a partition for each day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// Idempotency records. First, since writers lock them first.
    Replies,
    /// Events.
    Outbox,
}

impl Parent {
    /// Both, in the order in which writers lock them.
    pub const ALL: [Self; 2] = [Self::Replies, Self::Outbox];

    /// The table's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replies => "replies",
            Self::Outbox => "outbox",
        }
    }
}

/// Creates the partitions of the coming days; returns how many. Its locks conflict with no write.
pub async fn ensure(connection: &mut PgConnection, parent: Parent, days: i32) -> sqlx::Result<i32> {
    let ensure = sqlx::query_scalar("-- ensure_partitions\nSELECT ensure_partitions($1, $2)");
    with_short_locks(connection, ensure.bind(parent.name()).bind(days)).await
}

/// Returns for how many days after today partitions exist; -1 if today's is missing.
pub async fn days_ahead(connection: &mut PgConnection, parent: Parent) -> sqlx::Result<i32> {
    sqlx::query_scalar("-- partition_days_ahead\nSELECT partition_days_ahead($1)")
        .bind(parent.name())
        .fetch_one(connection)
        .await
}

/// Drops partitions that end before a time and hold no revision from `keep_from` on; returns how many.
pub async fn drop_before(
    connection: &mut PgConnection,
    parent: Parent,
    before: OffsetDateTime,
    keep_from: Option<Revision>,
) -> sqlx::Result<i32> {
    let drop = sqlx::query_scalar("-- drop_partitions\nSELECT drop_partitions($1, $2, $3)")
        .bind(parent.name())
        .bind(before)
        .bind(keep_from.map(Revision::as_i64));
    with_short_locks(connection, drop).await
}

/// A drop needs a lock that conflicts with all others. While it waits, for example for a dump, every write waits behind
/// it.
async fn with_short_locks(
    connection: &mut PgConnection,
    query: QueryScalar<'_, Postgres, i32, PgArguments>,
) -> sqlx::Result<i32> {
    let mut transaction = connection.begin().await?;
    sqlx::query("-- brief_locks\nSET LOCAL lock_timeout = '200ms'").execute(&mut *transaction).await?;
    let partitions = query.fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(partitions)
}
