//! The sums of the counts of a range of accounts, with the head of the same snapshot.

use event_log::LogPosition;
use proto::UserId;
use service_kit::postgres::acquire;
use sqlx::Connection as _;
use uuid::Uuid;

use super::database::{Error, HEAD, Truth, position};

/// A function with the owner's rights: it does not show whose the counts are.
const COUNTS: &str = "-- projector_count_sums
SELECT last, accounts, following, followers, muting, blocking, requests_sent, requests_received
FROM sum_counts($1, $2)";

/// Sums of the counts of the accounts of a range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// The last account of the range.
    pub last: Option<UserId>,
    /// Number of accounts with a row in it.
    pub accounts: i64,
    /// Follows that begin at them.
    pub following: i64,
    /// Follows that end at them.
    pub followers: i64,
    /// Mutes that begin at them.
    pub muting: i64,
    /// Blocks that begin at them.
    pub blocking: i64,
    /// Requests that begin at them.
    pub requests_sent: i64,
    /// Requests that end at them.
    pub requests_received: i64,
}

type Columns = (Option<Uuid>, i64, i64, i64, i64, i64, i64, i64);

impl Truth {
    /// The sums over the first `limit` accounts after one.
    pub async fn counts_after(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<(LogPosition, Sums), Error> {
        let mut connection = acquire(&self.pool).await?;
        let mut tx = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let head: (i64, i64, Option<Uuid>) = sqlx::query_as(HEAD).fetch_one(&mut *tx).await?;
        let (last, accounts, following, followers, muting, blocking, requests_sent, requests_received): Columns =
            sqlx::query_as(COUNTS)
                // The nil UUID is below every id.
                .bind(after.map_or(Uuid::nil(), UserId::uuid))
                .bind(i32::try_from(limit).unwrap_or(i32::MAX))
                .fetch_one(&mut *tx)
                .await?;
        tx.commit().await?;
        let last = last.and_then(UserId::new);
        let sums =
            Sums { last, accounts, following, followers, muting, blocking, requests_sent, requests_received };
        Ok((position(head), sums))
    }
}
