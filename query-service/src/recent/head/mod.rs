//! Tracks the newest committed revision known to this process: the epoch, the head, and when each head was first
//! observed, from which staleness follows.
//!
//! PostgreSQL alone decides which epoch is current. If PostgreSQL does not answer, heartbeats decide. Read models are
//! ignored once either has been received, because a model may belong to another installation.
//!
//! Every read needs the head and the staleness of replicas. These are published in atomics; the lock is for
//! observations, and for replicas that lag.

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

/// Upper bound of reported staleness; older heads are dropped.
pub const LONGEST_STALENESS: Duration = Duration::from_secs(600);

/// Resolution of reported staleness.
const MOMENT: Duration = Duration::from_millis(100);

/// A replica that lacks nothing older than about this is checked without the lock.
const FRESH: Duration = Duration::from_millis(500);

/// A heartbeat arrives twice a second, and the probe reads PostgreSQL as often. After a longer silence this process
/// does not know when the revisions were committed that it then sees.
const SILENCE: Duration = Duration::from_secs(3);

/// Source of the current epoch; a later variant overrides an earlier one.
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
    /// When PostgreSQL last reported its head.
    confirmed_at: Option<Instant>,
    /// Id of the PostgreSQL database.
    database: Option<Uuid>,
    heartbeat: Option<Heartbeat>,
    /// The last heartbeat, regardless of its head.
    last_heard: Option<Heard>,
    /// When each head of the current epoch was first observed, or a revision was committed; both ascend.
    observed: VecDeque<(Instant, Revision)>,
    /// When PostgreSQL or a heartbeat last reported a head.
    observed_at: Option<Instant>,
    /// The newest head that PostgreSQL or a heartbeat has reported, and when it was last reported, or a newer one. A server
    /// that is behind an earlier report proves nothing.
    reported: Option<(Token, Instant)>,
    /// Revisions after this one were observed when they were committed.
    live_after: Option<Revision>,
}

/// Tracks the newest head. Shared by observers and readers.
#[derive(Debug)]
pub struct HeadTracker {
    inner: Mutex<Inner>,
    published: Published,
}

impl Default for HeadTracker {
    fn default() -> Self {
        Self { inner: Mutex::default(), published: Published::new(Instant::now()) }
    }
}

impl HeadTracker {
    /// Changes the state, and publishes it.
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock();
        change(&mut inner);
        self.published.store(&inner.view());
    }

    fn view(&self) -> View {
        self.published.load().unwrap_or_else(|| self.inner.lock().view())
    }

    /// Records a heartbeat. Several processes send them: ignores one from an older epoch, and one from another epoch
    /// than the one that PostgreSQL has just confirmed.
    pub fn observe_heartbeat(&self, heartbeat: Heartbeat, now: Instant) {
        self.change(|inner| {
            if !inner.accepts(heartbeat.head, now) {
                return;
            }
            inner.observe(heartbeat.head, Authority::Heartbeat, now);
            inner.last_heard = Some(Heard { heartbeat, at: now });
            if inner.heartbeat.is_none_or(|last| last.head <= heartbeat.head) {
                inner.heartbeat = Some(heartbeat);
            }
        });
    }

    /// Records the head that PostgreSQL reported to the probe.
    pub fn observe_head(&self, head: Token, now: Instant) {
        self.change(|inner| {
            inner.confirmed_at = Some(now);
            inner.observe(head, Authority::PostgreSql, now);
        });
    }

    /// Records that PostgreSQL has lost commits that this process has read, and now has this head. Later revisions will
    /// be assigned again, so observations of them are dropped.
    pub fn went_back(&self, head: Token, now: Instant) {
        self.change(|inner| {
            inner.forget_epoch();
            inner.confirmed_at = Some(now);
            inner.observe(head, Authority::PostgreSql, now);
        });
    }

    /// Records the id of the database that PostgreSQL reported to the probe.
    pub fn observe_database(&self, database: Uuid) {
        self.change(|inner| inner.database = Some(database));
    }

    /// Records the revision of an answer of PostgreSQL. Answers overtake each other: ignores one of an older epoch.
    pub fn observe_answer(&self, as_of: Token, now: Instant) {
        self.change(|inner| {
            if inner.head.is_none_or(|head| head.epoch <= as_of.epoch) {
                inner.observe(as_of, Authority::PostgreSql, now);
            }
        });
    }

    /// Records the revision of a verified event of the log, which the head has reached.
    pub fn observe_event(&self, at: Token, now: Instant) {
        self.change(|inner| {
            if inner.head.is_none_or(|head| head.epoch == at.epoch) {
                inner.raise(at, now);
            }
        });
    }

    /// Records the revision that a read model shows. It counts only until PostgreSQL or a heartbeat reports a head.
    pub fn observe_read_model(&self, visible: Token, now: Instant) {
        if self.view().is_settled {
            return;
        }
        self.change(|inner| {
            if inner.authority == Authority::ReadModel && inner.head.is_none_or(|head| head < visible) {
                inner.observe_read_model(visible, now);
            }
        });
    }

    /// False if a read model with this checkpoint is of another epoch or another database. If it does not name its
    /// database, only the epoch is compared.
    pub fn same_history(&self, visible: Token, database: Option<Uuid>) -> bool {
        let view = self.view();
        let same_epoch = view.head.is_none_or(|head| head.epoch == visible.epoch);
        same_epoch && view.database.zip(database).is_none_or(|(ours, theirs)| ours == theirs)
    }

    /// The head, if PostgreSQL has confirmed it since then.
    pub fn confirmed_since(&self, since: Instant) -> Option<Token> {
        let inner = self.inner.lock();
        inner.head.filter(|_| inner.confirmed_at.is_some_and(|at| at >= since))
    }

    /// The current epoch, if one is known.
    pub fn epoch(&self) -> Option<Epoch> {
        self.head().map(|head| head.epoch)
    }

    /// The newest known head.
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

    /// PostgreSQL's current time, derived from the last heartbeat.
    pub fn time(&self, now: Instant) -> Option<OffsetDateTime> {
        self.inner.lock().last_heard.and_then(|heard| heard.time(now))
    }

    /// Age of the oldest revision after this one. Zero for the newest; [`LONGEST_STALENESS`] for another epoch.
    ///
    /// An estimate if the age of that revision is not known: the age of the nearest older revision that has one, or the
    /// time since this process observed something newer.
    pub fn staleness(&self, of: Token, now: Instant) -> Duration {
        match self.view().head {
            Some(head) if head.epoch != of.epoch => LONGEST_STALENESS,
            Some(head) if head > of => self.inner.lock().staleness(of, now),
            _ => Duration::ZERO,
        }
    }

    /// True if the staleness is above a limit.
    pub fn is_staler(&self, of: Token, limit: Duration, now: Instant) -> bool {
        let view = self.view();
        let known = view.head.is_some_and(|head| head.epoch == of.epoch && head > of)
            && view.fresh.is_some_and(|fresh| fresh.covers(of, limit, now));
        !known && self.staleness(of, now) > limit
    }

    /// True if this process has everything that was committed until `limit` ago: it has heard of the head since then, and
    /// lacks nothing older.
    pub fn is_current(&self, at: Token, limit: Duration, now: Instant) -> bool {
        let view = self.view();
        let heard = view.reported_at.is_some_and(|heard| now.saturating_duration_since(heard) <= limit);
        let same_epoch = view.head.is_some_and(|head| head.epoch == at.epoch);
        heard && same_epoch && !self.is_staler(at, limit, now)
    }

    /// True if a newer revision was committed while this process did not listen, and its age was not looked up.
    pub fn lacks_age(&self, of: Token, now: Instant) -> bool {
        let view = self.view();
        view.head.is_some_and(|head| head.epoch == of.epoch && head > of)
            && view.fresh.is_none_or(|fresh| of.revision < fresh.after)
            && self.inner.lock().lacks_age(of, now)
    }

    /// Records the age of a revision from a look-up.
    pub fn observe_age(&self, committed: Token, age: Duration, now: Instant) {
        self.change(|inner| inner.insert_age(committed, age, now));
    }
}

impl Inner {
    fn view(&self) -> View {
        View {
            head: self.head,
            is_settled: self.authority != Authority::ReadModel,
            database: self.database,
            fresh: self.fresh(),
            reported_at: self.reported.map(|(_, at)| at),
        }
    }

    /// The newest revisions that were all observed when they were committed.
    fn fresh(&self) -> Option<Fresh> {
        let (live_after, (newest, _)) = (self.live_after?, self.observed.back()?);
        let old = |(at, _): &(Instant, Revision)| newest.saturating_duration_since(*at) > FRESH;
        let first = self.observed.partition_point(old);
        let before = first.checked_sub(1).and_then(|last| self.observed.get(last));
        let after = before.map_or(Revision::ZERO, |(_, revision)| *revision);
        self.observed.get(first).map(|(since, _)| Fresh { after: after.max(live_after), since: *since })
    }

    fn staleness(&self, of: Token, now: Instant) -> Duration {
        match self.head {
            Some(head) if head.epoch != of.epoch => return LONGEST_STALENESS,
            Some(head) if head > of => {}
            _ => return Duration::ZERO,
        }
        let missed = self.first_after(of.revision);
        let known = if self.lacks_age(of, now) { missed.saturating_sub(1) } else { missed };
        let age = self.observed.get(known).map(|(at, _)| now.saturating_duration_since(*at));
        age.unwrap_or_default().min(LONGEST_STALENESS)
    }

    /// True if a heartbeat with this head may change the state.
    fn accepts(&self, head: Token, now: Instant) -> bool {
        let Some(known) = self.head else { return true };
        let confirmed = self.confirmed_at.is_some_and(|at| now.saturating_duration_since(at) <= SILENCE);
        known.epoch == head.epoch
            || self.authority == Authority::ReadModel
            || (known.epoch < head.epoch && !confirmed)
    }

    fn observe(&mut self, head: Token, authority: Authority, now: Instant) {
        if self.head.is_some_and(|known| known.epoch != head.epoch) {
            self.forget_epoch();
        }
        self.authority = self.authority.max(authority);
        self.raise(head, now);
        if self.reported.is_none_or(|(newest, _)| newest <= head) {
            self.reported = Some((head, now));
        }
        match self.observed_at.replace(now) {
            Some(last) if now.saturating_duration_since(last) <= SILENCE => return,
            Some(_) => {}
            // Until now only read models were observed, and they may be behind.
            None => self.observed = VecDeque::from([(now, head.revision)]),
        }
        self.live_after = Some(head.revision);
    }

    fn observe_read_model(&mut self, visible: Token, now: Instant) {
        if self.head.is_some_and(|known| known.epoch != visible.epoch) {
            self.forget_epoch();
        }
        self.raise(visible, now);
    }

    fn forget_epoch(&mut self) {
        let (confirmed_at, database) = (self.confirmed_at, self.database);
        *self = Self { confirmed_at, database, ..Self::default() };
    }

    fn lacks_age(&self, of: Token, now: Instant) -> bool {
        let missed = of.revision.next();
        let open = |(at, next): &(Instant, Revision)| {
            let dated = *next == missed && self.live_after != Some(missed);
            !dated && now.saturating_duration_since(*at) < LONGEST_STALENESS
        };
        self.head.is_some_and(|head| head.epoch == of.epoch && head > of)
            && self.live_after.is_none_or(|last| missed <= last)
            && self.observed.get(self.first_after(of.revision)).is_some_and(open)
    }

    /// Index in `observed` of the first revision after this one.
    fn first_after(&self, revision: Revision) -> usize {
        self.observed.partition_point(|(_, known)| *known <= revision)
    }

    fn insert_age(&mut self, committed: Token, age: Duration, now: Instant) {
        if self.head.is_none_or(|head| head.epoch != committed.epoch || head < committed) {
            return;
        }
        if self.live_after == Some(committed.revision) {
            self.live_after = Some(Revision(committed.revision.0.saturating_sub(1)));
        }
        let place = self.first_after(committed.revision);
        let at = now.checked_sub(age.min(LONGEST_STALENESS)).unwrap_or(now);
        // Clocks differ, and a later revision is not older.
        let at = self.observed.get(place).map_or(at, |(next, _)| at.min(*next));
        for (earlier, _) in self.observed.iter_mut().take(place) {
            *earlier = at.min(*earlier);
        }
        self.observed.insert(place, (at, committed.revision));
        self.forget_old(now);
    }

    /// Records that the head of the current epoch has reached this revision.
    fn raise(&mut self, head: Token, now: Instant) {
        if self.head.is_some_and(|known| head <= known) {
            return;
        }
        self.head = Some(head);
        self.forget_old(now);
        match self.observed.back_mut() {
            // Answers report heads thousands of times a second; heads within one interval share an entry.
            Some((at, revision)) if now.saturating_duration_since(*at) < MOMENT => *revision = head.revision,
            _ => self.observed.push_back((now, head.revision)),
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let old = |(at, _): &(Instant, Revision)| now.saturating_duration_since(*at) > LONGEST_STALENESS;
        // Keep one old head: a replica that has not reached it is stale, however long ago the last write was.
        while self.observed.get(1).is_some_and(old) {
            self.observed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
