//! The newest head that this process has heard of.
//!
//! Owns: the present epoch, the last beacon, and when each head was first heard of; from that follows how stale a
//! revision is. It must not know who reads.
//! What can go wrong: no beacon comes. Then nothing is known of staleness, and answers still say their revision.
//!
//! Epochs only grow: whoever opens one takes a larger number. So a smaller epoch is always of the past.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost_types::Timestamp;
use proto::{Epoch, Revision, Token};
use tokio::time::Instant;

/// Older heads are forgotten; staleness beyond this is told as this.
pub const LONGEST_STALENESS: Duration = Duration::from_secs(600);

/// Staleness is told to about this.
const MOMENT: Duration = Duration::from_millis(100);

/// The last beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// The head that it told.
    pub head: Token,
    /// When it was sent, by the sender's clock.
    pub sent_at: Timestamp,
}

#[derive(Debug, Default)]
struct Inner {
    head: Option<Token>,
    beacon: Option<Beacon>,
    /// When each head of the present epoch was first heard of; both ascend.
    heard: VecDeque<(Instant, Revision)>,
}

/// What is known of the source of truth's head.
#[derive(Debug, Default)]
pub struct Horizon(Mutex<Inner>);

impl Horizon {
    /// A beacon was heard.
    pub fn beacon(&self, beacon: Beacon, now: Instant) {
        let mut inner = self.inner();
        // Several processes send them, and one of a past epoch may linger.
        if inner.head.is_some_and(|head| beacon.head.epoch < head.epoch) {
            return;
        }
        inner.observe(beacon.head, now);
        if inner.beacon.is_none_or(|last| last.head <= beacon.head) {
            inner.beacon = Some(beacon);
        }
    }

    /// The source of truth, or a read model fed by it, told a revision.
    pub fn observe(&self, head: Token, now: Instant) {
        self.inner().observe(head, now);
    }

    /// The present epoch, if any was heard of.
    pub fn epoch(&self) -> Option<Epoch> {
        self.inner().head.map(|head| head.epoch)
    }

    /// The newest head heard of.
    pub fn head(&self) -> Option<Token> {
        self.inner().head
    }

    /// The last beacon.
    pub fn last_beacon(&self) -> Option<Beacon> {
        self.inner().beacon
    }

    /// For how long something newer than this is known. Zero for the newest; the longest for another epoch.
    pub fn staleness(&self, of: Token, now: Instant) -> Duration {
        let inner = self.inner();
        match inner.head {
            Some(head) if head.epoch > of.epoch => return LONGEST_STALENESS,
            Some(head) if head > of => {}
            _ => return Duration::ZERO,
        }
        let newer = inner.heard.partition_point(|(_, revision)| *revision <= of.revision);
        let missed = inner.heard.get(newer).map(|(at, _)| now.saturating_duration_since(*at));
        missed.unwrap_or_default().min(LONGEST_STALENESS)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whole at any time: no code that could panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn observe(&mut self, head: Token, now: Instant) {
        if self.head.is_some_and(|known| head <= known) {
            return;
        }
        if self.head.is_some_and(|known| known.epoch != head.epoch) {
            self.heard.clear();
        }
        self.head = Some(head);
        let old = |(at, _): &(Instant, Revision)| now.saturating_duration_since(*at) > LONGEST_STALENESS;
        // One old head stays: whoever misses that is stale, however long nothing was written since.
        while self.heard.get(1).is_some_and(old) {
            self.heard.pop_front();
        }
        match self.heard.back_mut() {
            // Answers tell heads thousands of times a second; heads of one moment share an entry.
            Some((at, revision)) if now.saturating_duration_since(*at) < MOMENT => *revision = head.revision,
            _ => self.heard.push_back((now, head.revision)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(epoch: u64, revision: u64) -> Token {
        Token::new(Epoch(epoch), Revision(revision))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn staleness_counts_from_the_first_head_that_was_missed() {
        let start = Instant::now();
        let horizon = Horizon::default();
        for (at, revision) in [(0, 10), (1, 20), (2, 30)] {
            horizon.observe(token(1, revision), start + seconds(at));
        }
        let now = start + seconds(5);
        assert_eq!(horizon.staleness(token(1, 30), now), Duration::ZERO);
        assert_eq!(horizon.staleness(token(1, 29), now), seconds(3));
        assert_eq!(horizon.staleness(token(1, 10), now), seconds(4));
        assert_eq!(horizon.staleness(token(1, 0), now), seconds(5));
    }

    #[test]
    fn who_missed_a_head_long_ago_stays_stale_when_another_one_comes() {
        let start = Instant::now();
        let horizon = Horizon::default();
        horizon.observe(token(1, 10), start);
        let later = start + LONGEST_STALENESS * 2;
        horizon.observe(token(1, 11), later);
        assert_eq!(horizon.staleness(token(1, 9), later), LONGEST_STALENESS);
        assert_eq!(horizon.staleness(token(1, 10), later + seconds(1)), seconds(1));
    }

    #[test]
    fn nothing_is_stale_before_a_head_is_known() {
        assert_eq!(Horizon::default().staleness(token(1, 0), Instant::now()), Duration::ZERO);
    }

    #[test]
    fn a_new_epoch_makes_all_of_the_old_stale_and_the_old_is_not_heard_again() {
        let now = Instant::now();
        let horizon = Horizon::default();
        horizon.observe(token(1, 900), now);
        horizon.observe(token(2, 5), now);
        horizon.observe(token(1, 901), now);
        assert_eq!(horizon.head(), Some(token(2, 5)));
        assert_eq!(horizon.staleness(token(1, 900), now), LONGEST_STALENESS);
        assert_eq!(horizon.staleness(token(2, 5), now), Duration::ZERO);
        let late = Beacon { head: token(1, 902), sent_at: Timestamp::default() };
        horizon.beacon(late, now);
        assert_eq!(horizon.last_beacon(), None);
    }

    #[test]
    fn many_heads_in_a_moment_take_little_room() {
        let start = Instant::now();
        let horizon = Horizon::default();
        for revision in 0..100_000 {
            horizon.observe(token(1, revision), start + Duration::from_micros(revision));
        }
        assert_eq!(horizon.inner().heard.len(), 1);
        assert_eq!(horizon.head(), Some(token(1, 99_999)));
        // The newest of them counts as missed too.
        assert!(horizon.staleness(token(1, 99_998), start + seconds(9)) >= seconds(8));
    }
}
