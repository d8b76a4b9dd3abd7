//! The difference between the counts of both stores: the degrees of a range's accounts in the read model against the
//! sums of their counts in PostgreSQL, at one revision.
//!
//! Nothing is repaired here. The sweep finds a wrong edge in the read model; a wrong count in PostgreSQL needs an
//! operator.

use crate::edge::Kind;
use crate::graph::Degrees;
use crate::metrics::{COUNTS_COMPARED, COUNTS_COMPARED_AT, COUNTS_DIFFERENCE, COUNTS_SKIPPED};
use crate::truth::Sums;

/// Failures of one range in a row before the comparison waits for the next pass: the edges matter more.
const ATTEMPTS: u32 = 5;

/// The result of a comparison so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    differences: [u64; 4],
    failures: u32,
}

impl Tally {
    /// Adds the differences of a range.
    pub(super) fn add(&mut self, of: [u64; 4]) {
        self.failures = 0;
        for (sum, difference) in self.differences.iter_mut().zip(of) {
            *sum += difference;
        }
    }

    /// Counts a range that could not be read. Returns true, and starts over, if the comparison gives up.
    pub(super) fn failed(&mut self) -> bool {
        self.failures += 1;
        if self.failures < ATTEMPTS {
            return false;
        }
        *self = Self::default();
        tracing::info!("the counts are not compared in this pass");
        metrics::counter!(COUNTS_SKIPPED).increment(1);
        true
    }

    /// Ends a comparison of all ranges, at this Unix time in seconds, and starts over.
    pub(super) fn finish(&mut self, now: i64) {
        let tally = std::mem::take(self);
        for (kind, difference) in Kind::ALL.into_iter().zip(tally.differences) {
            // A figure for people; digits beyond 2^53 do not matter.
            metrics::gauge!(COUNTS_DIFFERENCE, "kind" => kind.name()).set(difference as f64);
        }
        metrics::counter!(COUNTS_COMPARED).increment(1);
        metrics::gauge!(COUNTS_COMPARED_AT).set(now as f64);
    }
}

/// How far the degrees of a range are from its counts, by kind: the larger difference of both directions.
pub(super) fn differences(counted: &Sums, found: &Degrees) -> [u64; 4] {
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
