//! The limit of the changes of one transaction.
//!
//! Neo4j ends transactions that take too long. The next session gathers the same events into the same batch, which
//! would fail each time; so the limit outlives sessions. It is halved after a failure and grows slowly: a failure costs
//! the server's timeout, a smaller batch costs little. An event with more changes than the limit is written in several
//! transactions.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::apply::MAX_CHANGES;
use crate::metrics::BATCH_LIMIT;

/// Batches in a row that must succeed before the limit grows.
const GOOD_BATCHES: usize = 16;

/// The limit. There is one writer, so the two numbers need no common lock.
#[derive(Debug)]
pub struct BatchLimit {
    limit: AtomicUsize,
    good: AtomicUsize,
}

impl Default for BatchLimit {
    fn default() -> Self {
        let limit = Self { limit: AtomicUsize::new(0), good: AtomicUsize::new(0) };
        limit.set(MAX_CHANGES);
        limit
    }
}

impl BatchLimit {
    /// Limit of the changes of the next batch.
    pub fn get(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// A batch, or a part of one, of this size failed.
    pub fn failed(&self, size: usize) {
        let limit = (self.get().min(size) / 2).max(1);
        tracing::info!(size, limit, "a batch failed, the next ones are smaller");
        self.set(limit);
    }

    /// A batch of this size was written. Small ones prove nothing.
    pub fn applied(&self, size: usize) {
        let limit = self.get();
        if limit >= MAX_CHANGES || size * 2 < limit {
            return;
        }
        if self.good.fetch_add(1, Ordering::Relaxed) + 1 >= GOOD_BATCHES {
            self.set((limit + (limit / 4).max(1)).min(MAX_CHANGES));
        }
    }

    fn set(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.good.store(0, Ordering::Relaxed);
        // Far below 2^53.
        metrics::gauge!(BATCH_LIMIT).set(limit as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_halves_at_once_and_grows_slowly() {
        let limit = BatchLimit::default();
        limit.failed(1_800);
        assert_eq!(limit.get(), 900);
        limit.failed(900);
        assert_eq!(limit.get(), 450);
        (1..GOOD_BATCHES).for_each(|_| limit.applied(450));
        limit.applied(1);
        assert_eq!(limit.get(), 450, "a small batch proves nothing");
        limit.applied(450);
        assert_eq!(limit.get(), 562);
        (0..GOOD_BATCHES * 100).for_each(|_| limit.applied(limit.get()));
        assert_eq!(limit.get(), MAX_CHANGES);
    }

    #[test]
    fn repeated_failures_end_at_a_limit_of_one() {
        let limit = BatchLimit::default();
        (0..20).for_each(|_| limit.failed(limit.get().min(1_000)));
        assert_eq!(limit.get(), 1);
    }
}
