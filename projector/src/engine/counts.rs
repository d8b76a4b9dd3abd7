//! Comparing the counts of both stores.
//!
//! Owns: when it is done, after a pass of the audit, and what a difference is: the edges that the read model holds,
//! against the sums of all accounts' counts in PostgreSQL, at one revision. It repairs nothing: an edge that is wrong in
//! the read model is found by the sweep; a count that is wrong in PostgreSQL is for people.
//! Must not know: how either is counted. What can go wrong: PostgreSQL takes long; events wait meanwhile, so there is a
//! limit, and after a long comparison a long rest.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::session::Session;
use crate::edge::Kind;
use crate::metrics::{COUNTS_COMPARED, COUNTS_DIFFERENCE};

/// Longest wait for PostgreSQL.
const PATIENCE: Duration = Duration::from_secs(5);
/// Shortest time between two comparisons.
const REST: Duration = Duration::from_secs(10);
/// Rest after a comparison, in multiples of what it took.
const REST_TIMES: u32 = 200;

/// When to compare.
#[derive(Debug)]
pub(super) struct Pace {
    /// A pass has ended since the last time.
    due: bool,
    not_before: Instant,
}

impl Pace {
    /// Nothing is due.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: false, not_before: now }
    }

    /// A pass has ended.
    pub(super) fn passed(&mut self) {
        self.due = true;
    }

    /// Whether to compare now; the answer yes is given once.
    fn take(&mut self, now: Instant) -> bool {
        let take = self.due && now >= self.not_before;
        if take {
            self.due = false;
        }
        take
    }

    fn took(&mut self, time: Duration, now: Instant) {
        self.not_before = now + REST.max(time * REST_TIMES);
    }
}

impl Session<'_> {
    /// Compares the counts, if it is time.
    pub(super) async fn compare_counts(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        let began = Instant::now();
        if !self.sweep.complete() || !self.counts.take(began) {
            return Ok(());
        }
        let read = tokio::time::timeout(PATIENCE, self.engine.sources.truth.counts()).await;
        self.counts.took(began.elapsed(), Instant::now());
        let (head, truth) = match read {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::info!(%error, "the counts are not compared");
                return Ok(());
            }
            Err(_) => {
                tracing::info!("the counts are not compared: PostgreSQL takes too long");
                return Ok(());
            }
        };
        if !self.reach(head, stop).await? {
            return Ok(());
        }
        let found = self.engine.replica.count_edges().await?;
        self.touched();
        for (kind, (truth, found)) in Kind::ALL.into_iter().zip(truth.iter().zip(found)) {
            let difference = truth.difference(found);
            if difference > 0 {
                tracing::warn!(
                    kind = kind.name(),
                    outgoing = truth.outgoing,
                    incoming = ?truth.incoming,
                    found,
                    revision = head.revision.0,
                    "the counts of the stores differ"
                );
            }
            // A figure for people; digits beyond 2^53 do not matter.
            metrics::gauge!(COUNTS_DIFFERENCE, "kind" => kind.name()).set(difference as f64);
        }
        metrics::counter!(COUNTS_COMPARED).increment(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_long_comparison_is_followed_by_a_long_rest() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert!(!pace.take(now), "no pass has ended");
        pace.passed();
        assert!(pace.take(now) && !pace.take(now));
        pace.took(Duration::from_secs(1), now);
        pace.passed();
        assert!(!pace.take(now + Duration::from_secs(199)));
        assert!(pace.take(now + Duration::from_secs(200)));
        pace.took(Duration::ZERO, now);
        pace.passed();
        assert!(!pace.take(now + Duration::from_secs(9)));
        assert!(pace.take(now + REST));
    }
}
