//! The newest events that this process has committed, in memory: the relay publishes them without reading the outbox.
//!
//! A bounded run without gaps. Events that are not here are read from the outbox.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::{Epoch, Revision};

use super::outbox::Entry;

/// Memory limit in bytes of payload; above it, the oldest events are dropped.
const MAX_BYTES: usize = 16 << 20;

/// Clones share the run.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Run>>);

#[derive(Debug, Default)]
struct Run {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Recent {
    /// Adds committed events. If they do not follow the last one, the run restarts with them.
    pub fn push(&self, entries: Vec<Entry>) {
        let mut run = self.0.lock();
        for entry in entries {
            let follows = run.entries.back().is_some_and(|last| {
                last.revision().next() == entry.revision() && last.epoch() == entry.epoch()
            });
            if !follows {
                *run = Run::default();
            }
            run.bytes += entry.payload.len();
            run.entries.push_back(Arc::new(entry));
        }
        while run.bytes > MAX_BYTES
            && let Some(oldest) = run.entries.pop_front()
        {
            run.bytes -= oldest.payload.len();
        }
    }

    /// Drops all events.
    pub fn clear(&self) {
        *self.0.lock() = Run::default();
    }

    /// Returns up to `limit` events of an epoch, beginning with `revision`; empty if that one is not here.
    pub fn from(&self, epoch: Epoch, revision: Revision, limit: usize) -> Vec<Arc<Entry>> {
        let run = self.0.lock();
        let Some(first) = run.entries.front().filter(|first| first.epoch() == epoch) else {
            return Vec::new();
        };
        let Some(skipped) = revision.0.checked_sub(first.revision().0) else { return Vec::new() };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        run.entries.iter().skip(skipped).take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(revisions: std::ops::Range<u64>) -> Vec<Entry> {
        revisions.map(|revision| Entry::empty(revision, None)).collect()
    }

    fn found(recent: &Recent, revision: u64, limit: usize) -> Vec<u64> {
        recent.from(Epoch(1), Revision(revision), limit).iter().map(|entry| entry.revision().0).collect()
    }

    #[test]
    fn a_run_has_no_gap_and_one_epoch() {
        let recent = Recent::default();
        recent.push(entries(5..8));
        recent.push(entries(8..10));
        assert_eq!(found(&recent, 6, 3), [6, 7, 8]);
        assert!(found(&recent, 4, 3).is_empty());
        assert!(found(&recent, 10, 3).is_empty());
        assert!(recent.from(Epoch(2), Revision(6), 3).is_empty());
        // Another process has committed revision 10.
        recent.push(entries(11..12));
        assert!(found(&recent, 9, 3).is_empty());
        assert_eq!(found(&recent, 11, 3), [11]);
        recent.clear();
        assert!(found(&recent, 11, 3).is_empty());
    }
}
