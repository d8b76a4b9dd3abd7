//! The sums of all accounts' counts, with the head of the same snapshot.
//!
//! Owns: the statement. Must not know: what the sums are compared with.
//! What can go wrong: as in the parent module. It reads every account, which takes time where there are many.

use service_kit::postgres::acquire;
use sqlx::Connection as _;
use uuid::Uuid;

use super::{Error, HEAD, Truth, mark};
use crate::mark::Mark;

const COUNTS: &str = "-- projector_count_sums
SELECT coalesce(sum(following), 0)::bigint, coalesce(sum(followers), 0)::bigint,
       coalesce(sum(muting), 0)::bigint, coalesce(sum(blocking), 0)::bigint,
       coalesce(sum(requests_sent), 0)::bigint, coalesce(sum(requests_received), 0)::bigint
FROM accounts";

/// What all accounts say of one kind of edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// The edges that begin at them.
    pub outgoing: i64,
    /// The edges that end at them; none where that is not counted.
    pub incoming: Option<i64>,
}

impl Sums {
    /// How far a number of edges is from what the accounts say.
    pub fn difference(&self, found: i64) -> u64 {
        let incoming = self.incoming.unwrap_or(self.outgoing);
        self.outgoing.abs_diff(found).max(incoming.abs_diff(found))
    }
}

impl Truth {
    /// The sums for follows, mutes, blocks and requests, in the order of their kinds.
    pub async fn counts(&self) -> Result<(Mark, [Sums; 4]), Error> {
        let mut connection = acquire(&self.pool).await?;
        let mut tx = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let head: (i64, i64, Option<Uuid>) = sqlx::query_as(HEAD).fetch_one(&mut *tx).await?;
        let (following, followers, muting, blocking, sent, received): (i64, i64, i64, i64, i64, i64) =
            sqlx::query_as(COUNTS).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        let sums = [
            Sums { outgoing: following, incoming: Some(followers) },
            Sums { outgoing: muting, incoming: None },
            Sums { outgoing: blocking, incoming: None },
            Sums { outgoing: sent, incoming: Some(received) },
        ];
        Ok((mark(head), sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_both_differences_counts() {
        let sums = Sums { outgoing: 10, incoming: Some(13) };
        assert_eq!((sums.difference(10), sums.difference(12)), (3, 2));
        assert_eq!(Sums { outgoing: 10, incoming: None }.difference(9), 1);
    }
}
