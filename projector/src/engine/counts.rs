//! Comparing the counts of both stores, range of accounts by range, as the last part of a pass.
//!
//! Owns: what a difference is: the degrees of a range's accounts in the read model, against the sums of their counts in
//! PostgreSQL, at the revision of one snapshot. It repairs nothing: an edge that is wrong in the read model is found by
//! the sweep; a count that is wrong in PostgreSQL is for people.

use std::time::Duration;

use proto::UserId;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::session::Session;
use crate::edge::Kind;
use crate::graph::Degrees;
use crate::metrics::{COUNTS_COMPARED, COUNTS_COMPARED_AT, COUNTS_DIFFERENCE, COUNTS_SKIPPED};
use crate::truth::Sums;

/// Longest wait for PostgreSQL; events wait as well.
const TRUTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Failures of one range in a row before the comparison waits for the next pass: the edges matter more.
const ATTEMPTS: u32 = 5;

/// What a comparison has found so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    differences: [u64; 4],
    failures: u32,
}

impl Tally {
    /// Adds the differences of a range.
    fn add(&mut self, of: [u64; 4]) {
        self.failures = 0;
        for (sum, difference) in self.differences.iter_mut().zip(of) {
            *sum += difference;
        }
    }
}

/// How far the degrees of a range are from its counts, by kind: the larger difference of both directions.
fn differences(counted: &Sums, found: &Degrees) -> [u64; 4] {
    let of = |(outgoing, incoming): (i64, i64), (found_outgoing, found_incoming): (i64, i64)| {
        outgoing.abs_diff(found_outgoing).max(incoming.abs_diff(found_incoming))
    };
    [
        of((counted.following, counted.followers), (found.following, found.followers)),
        of((counted.muting, 0), (found.muting, 0)),
        of((counted.blocking, 0), (found.blocking, 0)),
        of(
            (counted.requests_sent, counted.requests_received),
            (found.requests_sent, found.requests_received),
        ),
    ]
}

impl Session<'_> {
    /// Compares the first `limit` accounts after one.
    pub(super) async fn sweep_counts(
        &mut self,
        after: Option<UserId>,
        limit: u32,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let read = self.engine.sources.truth.counts_after(after, limit);
        let Some((head, counted)) = self.in_time(tokio::time::timeout(TRUTH_TIMEOUT, read).await) else {
            self.counts.failures += 1;
            if self.counts.failures >= ATTEMPTS {
                tracing::info!("the counts are not compared in this pass");
                metrics::counter!(COUNTS_SKIPPED).increment(1);
                self.counts = Tally::default();
                self.pass_done().await?;
            }
            return Ok(());
        };
        if !self.reach(head, stop).await? {
            return Ok(());
        }
        // A range that is not full is the last one: what the read model holds behind it belongs to no account.
        let last = counted.last.filter(|_| counted.accounts >= i64::from(limit));
        let text = |user: UserId| user.to_string();
        let (from, to) = (after.map(text).unwrap_or_default(), last.map(text));
        let found = self.engine.replica.degrees(&from, to.as_deref()).await?;
        self.touched();
        let of = differences(&counted, &found);
        if of.iter().any(|difference| *difference > 0) {
            // Not the range: ids stay out of the logs.
            tracing::warn!(differences = ?of, revision = head.revision.0, "the counts of the stores differ");
        }
        self.counts.add(of);
        match last {
            Some(last) => {
                let next = self.sweep.after_counts(Some(last));
                self.step(next).await
            }
            None => {
                let tally = std::mem::take(&mut self.counts);
                for (kind, difference) in Kind::ALL.into_iter().zip(tally.differences) {
                    // A figure for people; digits beyond 2^53 do not matter.
                    metrics::gauge!(COUNTS_DIFFERENCE, "kind" => kind.name()).set(difference as f64);
                }
                metrics::counter!(COUNTS_COMPARED).increment(1);
                metrics::gauge!(COUNTS_COMPARED_AT).set(self.engine.now().unix_timestamp() as f64);
                self.pass_done().await
            }
        }
    }

    async fn pass_done(&mut self) -> Result<(), Failure> {
        let next = self.sweep.after_counts(None);
        self.step(next).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_both_differences_counts() {
        let counted = Sums { following: 10, followers: 13, muting: 2, requests_sent: 1, ..Sums::default() };
        let found = Degrees { following: 10, followers: 10, muting: 5, ..Degrees::default() };
        assert_eq!(differences(&counted, &found), [3, 3, 0, 1]);
    }

    #[test]
    fn differences_of_ranges_do_not_cancel_each_other() {
        let mut tally = Tally::default();
        let more = Sums { following: 3, ..Sums::default() };
        tally.add(differences(&more, &Degrees::default()));
        tally.add(differences(&Sums::default(), &Degrees { following: 3, ..Degrees::default() }));
        assert_eq!(tally.differences, [6, 0, 0, 0]);
    }
}
