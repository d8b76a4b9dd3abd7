//! Lock-free copy of the head for reads.
//!
//! A sequence lock: the version is odd while a thread writes, and a reader that sees a different version before and
//! after discards the result. All words are atomics, so a torn read is detected and never undefined behaviour.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use proto::{Epoch, Revision, Token};
use tokio::time::Instant;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The newest known head.
    pub head: Option<Token>,
    /// PostgreSQL or a heartbeat has been received, so the revisions of read models no longer count.
    pub is_settled: bool,
    /// Id of the PostgreSQL database.
    pub database: Option<Uuid>,
    /// The newest revisions that were all observed when they were committed.
    pub fresh: Option<Fresh>,
    /// When PostgreSQL or a heartbeat last reported a head that is not older than an earlier report.
    pub reported_at: Option<Instant>,
}

/// All revisions of the current epoch after `after` were observed when they were committed, at `since` or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    pub after: Revision,
    /// Time at which the first of them was observed.
    pub since: Instant,
}

impl Fresh {
    /// True if a replica at `of` certainly lacks nothing older than the limit.
    pub fn covers(self, of: Token, limit: Duration, now: Instant) -> bool {
        of.revision >= self.after && now.saturating_duration_since(self.since) <= limit
    }
}

const HEAD: u64 = 1;
const SETTLED: u64 = 2;
const DATABASE: u64 = 4;
const IS_FRESH: u64 = 8;
const REPORTED: u64 = 16;

#[derive(Debug)]
pub struct Published {
    version: AtomicU64,
    /// Bit flags of the optional values, then epoch and revision, the two halves of the database, the fresh part, and the
    /// time of the last report.
    words: [AtomicU64; 8],
    origin: Instant,
}

impl Published {
    /// Nothing is known. Times are stored as distances from `origin`.
    pub fn new(origin: Instant) -> Self {
        Self { version: AtomicU64::new(0), words: Default::default(), origin }
    }

    /// Stores a view. The caller must exclude other writers.
    pub fn store(&self, view: &View) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (place, word) in self.words.iter().zip(self.encode(view)) {
            place.store(word, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    /// The view; `None` if another thread is writing.
    pub fn load(&self) -> Option<View> {
        let version = self.version.load(Ordering::Acquire);
        let words = std::array::from_fn(|place| self.words[place].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        is_whole.then(|| self.decode(words))
    }

    /// A u64 of nanoseconds since the origin lasts for centuries.
    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }

    fn encode(&self, view: &View) -> [u64; 8] {
        // Times before the start of this process have no representation; the reader then takes the lock.
        let fresh = view.fresh.filter(|fresh| fresh.since >= self.origin);
        let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
        let flags = flag(view.head.is_some(), HEAD)
            | flag(view.is_settled, SETTLED)
            | flag(view.database.is_some(), DATABASE)
            | flag(fresh.is_some(), IS_FRESH)
            | flag(view.reported_at.is_some(), REPORTED);
        let (epoch, revision) = view.head.map_or((0, 0), |head| (head.epoch.0, head.revision.0));
        let (high, low) = view.database.map_or((0, 0), |database| database.as_u64_pair());
        let (after, since) = fresh.map_or((0, 0), |fresh| (fresh.after.0, self.nanos(fresh.since)));
        // A report from before the start of this process counts as one at the start.
        let reported = view.reported_at.map_or(0, |at| self.nanos(at));
        [flags, epoch, revision, high, low, after, since, reported]
    }

    fn decode(&self, [flags, epoch, revision, high, low, after, since, reported]: [u64; 8]) -> View {
        let is_set = |flag| flags & flag != 0;
        let at = |nanos| self.origin + Duration::from_nanos(nanos);
        View {
            head: is_set(HEAD).then(|| Token::new(Epoch(epoch), Revision(revision))),
            is_settled: is_set(SETTLED),
            database: is_set(DATABASE).then(|| Uuid::from_u64_pair(high, low)),
            fresh: is_set(IS_FRESH).then(|| Fresh { after: Revision(after), since: at(since) }),
            reported_at: is_set(REPORTED).then(|| at(reported)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(number: u64, origin: Instant) -> View {
        View {
            head: Some(Token::new(Epoch(number), Revision(number))),
            is_settled: true,
            database: Some(Uuid::from_u64_pair(number, number)),
            fresh: Some(Fresh { after: Revision(number), since: origin + Duration::from_nanos(number) }),
            reported_at: Some(origin + Duration::from_nanos(number)),
        }
    }

    #[test]
    fn a_view_comes_back_as_it_was_stored() {
        let origin = Instant::now();
        let published = Published::new(origin);
        let nothing = View { head: None, is_settled: false, database: None, fresh: None, reported_at: None };
        assert_eq!(published.load(), Some(nothing));
        for stored in [view(7, origin), View { fresh: None, ..view(8, origin) }, nothing] {
            published.store(&stored);
            assert_eq!(published.load(), Some(stored));
        }
    }

    #[test]
    fn no_reader_sees_half_of_a_view() {
        let origin = Instant::now();
        let published = Published::new(origin);
        published.store(&view(1, origin));
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| (1..100_000).for_each(|number| published.store(&view(number, origin))));
            while !writer.is_finished() {
                if let Some(seen) = published.load() {
                    let number = seen.head.expect("a head").epoch.0;
                    assert_eq!(seen, view(number, origin));
                }
            }
        });
    }
}
