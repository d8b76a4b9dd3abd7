//! Tracks the newest committed revision known to this process: the epoch, the head, and when each head was first
//! observed, from which staleness follows.
//!
//! PostgreSQL alone decides which epoch is current. If it is silent, heartbeats do; a read model never does, once either
//! was heard: it may belong to another installation.
//!
//! Every read asks for the head and for the staleness of replicas. What it needs is published in atomics; the lock is for
//! observations, and for a replica that lags.

mod published;

use std::collections::VecDeque;
use std::time::Duration;

use event_log::heartbeat::{Heard, Heartbeat};
use parking_lot::Mutex;
use proto::{Epoch, Revision, Token};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use self::published::{Fresh, Published, View};

/// Older heads are forgotten; staleness beyond this is told as this.
pub const LONGEST_STALENESS: Duration = Duration::from_secs(600);

/// Staleness is told to about this.
const MOMENT: Duration = Duration::from_millis(100);

/// A replica that misses nothing older than about this is judged without the lock.
const FRESH: Duration = Duration::from_millis(500);

/// The source of truth tells its head every second, and is asked for it twice a second. After a longer silence it is
/// not known when the revisions came that were committed meanwhile.
const SILENCE: Duration = Duration::from_secs(3);

/// Who vouches for the current epoch; a later one overrides an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Authority {
    #[default]
    ReadModel,
    Heartbeat,
    PostgreSql,
}

#[derive(Debug, Default)]
struct Inner {
    head: Option<Token>,
    authority: Authority,
    /// When PostgreSQL last answered.
    asked: Option<Instant>,
    /// Names the database of PostgreSQL.
    database: Option<Uuid>,
    heartbeat: Option<Heartbeat>,
    /// The heartbeat that was last heard, whatever its head.
    last_heard: Option<Heard>,
    /// When each head of the present epoch was first heard of, or a revision was committed; both ascend.
    heard: VecDeque<(Instant, Revision)>,
    /// When the source of truth last told its head.
    told: Option<Instant>,
    /// Revisions after this one were heard of as they came.
    dated_after: Option<Revision>,
}

/// The newest known head.
#[derive(Debug)]
pub struct Horizon {
    inner: Mutex<Inner>,
    published: Published,
}

impl Default for Horizon {
    fn default() -> Self {
        Self { inner: Mutex::default(), published: Published::new(Instant::now()) }
    }
}

impl Horizon {
    /// Changes what is known, and publishes it.
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock();
        change(&mut inner);
        self.published.store(&inner.view());
    }

    fn view(&self) -> View {
        self.published.load().unwrap_or_else(|| self.inner.lock().view())
    }

    /// A heartbeat was heard. Several processes send them: ignore one from an older epoch, and one from another
    /// epoch than the one that PostgreSQL has just confirmed.
    pub fn heartbeat(&self, heartbeat: Heartbeat, now: Instant) {
        self.change(|inner| {
            if !inner.accepts(heartbeat.head, now) {
                return;
            }
            inner.told(heartbeat.head, Authority::Heartbeat, now);
            inner.last_heard = Some(Heard { heartbeat, at: now });
            if inner.heartbeat.is_none_or(|last| last.head <= heartbeat.head) {
                inner.heartbeat = Some(heartbeat);
            }
        });
    }

    /// PostgreSQL was asked for its head.
    pub fn told(&self, head: Token, now: Instant) {
        self.change(|inner| {
            inner.asked = Some(now);
            inner.told(head, Authority::PostgreSql, now);
        });
    }

    /// PostgreSQL has lost commits that this process has read, and has this head now. Revisions after it are given out
    /// again, so what was heard of them does not count.
    pub fn went_back(&self, head: Token, now: Instant) {
        self.change(|inner| {
            inner.forget_epoch();
            inner.asked = Some(now);
            inner.told(head, Authority::PostgreSql, now);
        });
    }

    /// PostgreSQL was asked which database it is.
    pub fn told_database(&self, database: Uuid) {
        self.change(|inner| inner.database = Some(database));
    }

    /// An answer of PostgreSQL was of this revision. Answers overtake each other: one of an older epoch is ignored.
    pub fn answered(&self, as_of: Token, now: Instant) {
        self.change(|inner| {
            if inner.head.is_none_or(|head| head.epoch <= as_of.epoch) {
                inner.told(as_of, Authority::PostgreSql, now);
            }
        });
    }

    /// A verified event of the log was read: the head is not before it.
    pub fn advanced(&self, at: Token, now: Instant) {
        self.change(|inner| {
            if inner.head.is_none_or(|head| head.epoch == at.epoch) {
                inner.raise(at, now);
            }
        });
    }

    /// A read model shows this revision. It counts only until PostgreSQL or a heartbeat was heard.
    pub fn hint(&self, visible: Token, now: Instant) {
        if self.view().is_settled {
            return;
        }
        self.change(|inner| {
            if inner.authority == Authority::ReadModel && inner.head.is_none_or(|head| head < visible) {
                inner.told_by_read_model(visible, now);
            }
        });
    }

    /// False if a read model with this checkpoint is of another epoch or another database. One that does not name its
    /// database is judged by the epoch alone.
    pub fn same_history(&self, visible: Token, database: Option<Uuid>) -> bool {
        let view = self.view();
        let same_epoch = view.head.is_none_or(|head| head.epoch == visible.epoch);
        same_epoch && view.database.zip(database).is_none_or(|(ours, theirs)| ours == theirs)
    }

    /// The head, if PostgreSQL was asked for it since then.
    pub fn asked_since(&self, since: Instant) -> Option<Token> {
        let inner = self.inner.lock();
        inner.head.filter(|_| inner.asked.is_some_and(|asked| asked >= since))
    }

    /// The present epoch, if any was heard of.
    pub fn epoch(&self) -> Option<Epoch> {
        self.head().map(|head| head.epoch)
    }

    /// The newest head heard of.
    pub fn head(&self) -> Option<Token> {
        self.view().head
    }

    /// The last heartbeat.
    pub fn last_heartbeat(&self) -> Option<Heartbeat> {
        self.inner.lock().heartbeat
    }

    /// Age of the newest heartbeat, by this process's clock.
    pub fn heartbeat_age(&self, now: Instant) -> Option<Duration> {
        self.inner.lock().last_heard.map(|heard| now.saturating_duration_since(heard.at))
    }

    /// PostgreSQL's time of day, as the last heartbeat told it.
    pub fn time(&self, now: Instant) -> Option<OffsetDateTime> {
        self.inner.lock().last_heard.and_then(|heard| heard.time(now))
    }

    /// For how long something newer than this is known. Zero for the newest; the longest for another epoch.
    ///
    /// For what has no date it is a guess: the age of the nearest older revision that has one, or the time since this
    /// process heard of something newer.
    pub fn staleness(&self, of: Token, now: Instant) -> Duration {
        match self.view().head {
            Some(head) if head.epoch != of.epoch => LONGEST_STALENESS,
            Some(head) if head > of => self.inner.lock().staleness(of, now),
            _ => Duration::ZERO,
        }
    }

    /// The staleness is above a limit.
    pub fn is_staler(&self, of: Token, limit: Duration, now: Instant) -> bool {
        let view = self.view();
        let known = view.head.is_some_and(|head| head.epoch == of.epoch && head > of)
            && view.fresh.is_some_and(|fresh| fresh.covers(of, limit, now));
        !known && self.staleness(of, now) > limit
    }

    /// Something newer than this was committed while this process did not listen, and nobody has told when.
    pub fn undated(&self, of: Token, now: Instant) -> bool {
        let view = self.view();
        view.head.is_some_and(|head| head.epoch == of.epoch && head > of)
            && view.fresh.is_none_or(|fresh| of.revision < fresh.after)
            && self.inner.lock().undated(of, now)
    }

    /// A revision was committed so long ago.
    pub fn dated(&self, committed: Token, age: Duration, now: Instant) {
        self.change(|inner| inner.dated(committed, age, now));
    }
}

impl Inner {
    fn view(&self) -> View {
        View {
            head: self.head,
            is_settled: self.authority != Authority::ReadModel,
            database: self.database,
            fresh: self.fresh(),
        }
    }

    /// The newest part of what was observed as it came.
    fn fresh(&self) -> Option<Fresh> {
        let (dated_after, (newest, _)) = (self.dated_after?, self.heard.back()?);
        let old = |(at, _): &(Instant, Revision)| newest.saturating_duration_since(*at) > FRESH;
        let first = self.heard.partition_point(old);
        let before = first.checked_sub(1).and_then(|last| self.heard.get(last));
        let after = before.map_or(Revision::ZERO, |(_, revision)| *revision);
        self.heard.get(first).map(|(since, _)| Fresh { after: after.max(dated_after), since: *since })
    }

    fn staleness(&self, of: Token, now: Instant) -> Duration {
        match self.head {
            Some(head) if head.epoch != of.epoch => return LONGEST_STALENESS,
            Some(head) if head > of => {}
            _ => return Duration::ZERO,
        }
        let missed = self.first_after(of.revision);
        let known = if self.undated(of, now) { missed.saturating_sub(1) } else { missed };
        let age = self.heard.get(known).map(|(at, _)| now.saturating_duration_since(*at));
        age.unwrap_or_default().min(LONGEST_STALENESS)
    }

    /// True if a heartbeat of this head may change what is known.
    fn accepts(&self, head: Token, now: Instant) -> bool {
        let Some(known) = self.head else { return true };
        let confirmed = self.asked.is_some_and(|asked| now.saturating_duration_since(asked) <= SILENCE);
        known.epoch == head.epoch
            || self.authority == Authority::ReadModel
            || (known.epoch < head.epoch && !confirmed)
    }

    fn told(&mut self, head: Token, authority: Authority, now: Instant) {
        if self.head.is_some_and(|known| known.epoch != head.epoch) {
            self.forget_epoch();
        }
        self.authority = self.authority.max(authority);
        self.raise(head, now);
        match self.told.replace(now) {
            Some(told) if now.saturating_duration_since(told) <= SILENCE => return,
            Some(_) => {}
            // So far read models were heard of, and they may be behind.
            None => self.heard = VecDeque::from([(now, head.revision)]),
        }
        self.dated_after = Some(head.revision);
    }

    fn told_by_read_model(&mut self, visible: Token, now: Instant) {
        if self.head.is_some_and(|known| known.epoch != visible.epoch) {
            self.forget_epoch();
        }
        self.raise(visible, now);
    }

    fn forget_epoch(&mut self) {
        let (asked, database) = (self.asked, self.database);
        *self = Self { asked, database, ..Self::default() };
    }

    fn undated(&self, of: Token, now: Instant) -> bool {
        let missed = of.revision.next();
        let open = |(at, next): &(Instant, Revision)| {
            let dated = *next == missed && self.dated_after != Some(missed);
            !dated && now.saturating_duration_since(*at) < LONGEST_STALENESS
        };
        self.head.is_some_and(|head| head.epoch == of.epoch && head > of)
            && self.dated_after.is_none_or(|last| missed <= last)
            && self.heard.get(self.first_after(of.revision)).is_some_and(open)
    }

    /// The place in `heard` of the first revision after this one.
    fn first_after(&self, revision: Revision) -> usize {
        self.heard.partition_point(|(_, known)| *known <= revision)
    }

    fn dated(&mut self, committed: Token, age: Duration, now: Instant) {
        if self.head.is_none_or(|head| head.epoch != committed.epoch || head < committed) {
            return;
        }
        if self.dated_after == Some(committed.revision) {
            self.dated_after = Some(Revision(committed.revision.0.saturating_sub(1)));
        }
        let place = self.first_after(committed.revision);
        let at = now.checked_sub(age.min(LONGEST_STALENESS)).unwrap_or(now);
        // Clocks differ, and what came later is not older.
        let at = self.heard.get(place).map_or(at, |(next, _)| at.min(*next));
        for (earlier, _) in self.heard.iter_mut().take(place) {
            *earlier = at.min(*earlier);
        }
        self.heard.insert(place, (at, committed.revision));
        self.forget_old(now);
    }

    /// The head of the current epoch is not before this one.
    fn raise(&mut self, head: Token, now: Instant) {
        if self.head.is_some_and(|known| head <= known) {
            return;
        }
        self.head = Some(head);
        self.forget_old(now);
        match self.heard.back_mut() {
            // Answers tell heads thousands of times a second; heads of one moment share an entry.
            Some((at, revision)) if now.saturating_duration_since(*at) < MOMENT => *revision = head.revision,
            _ => self.heard.push_back((now, head.revision)),
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let old = |(at, _): &(Instant, Revision)| now.saturating_duration_since(*at) > LONGEST_STALENESS;
        // One old head stays: whoever misses that is stale, however long nothing was written since.
        while self.heard.get(1).is_some_and(old) {
            self.heard.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
