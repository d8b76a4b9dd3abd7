//! Tracks the newest committed revision known to this process: the epoch, the head, and when each head was first
//! observed, from which staleness follows.
//!
//! PostgreSQL alone decides which epoch is current. If it is silent, heartbeats do; a read model never does, once either
//! was heard: it may belong to another installation.

use std::collections::VecDeque;
use std::time::Duration;

use event_log::heartbeat::{Heard, Heartbeat};
use parking_lot::Mutex;
use proto::{Epoch, Revision, Token};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

/// Older heads are forgotten; staleness beyond this is told as this.
pub const LONGEST_STALENESS: Duration = Duration::from_secs(600);

/// Staleness is told to about this.
const MOMENT: Duration = Duration::from_millis(100);

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
#[derive(Debug, Default)]
pub struct Horizon(Mutex<Inner>);

impl Horizon {
    /// A heartbeat was heard. Several processes send them: ignore one from an older epoch, and one from another
    /// epoch than the one that PostgreSQL has just confirmed.
    pub fn heartbeat(&self, heartbeat: Heartbeat, now: Instant) {
        let mut inner = self.0.lock();
        if !inner.accepts(heartbeat.head, now) {
            return;
        }
        inner.told(heartbeat.head, Authority::Heartbeat, now);
        inner.last_heard = Some(Heard { heartbeat, at: now });
        if inner.heartbeat.is_none_or(|last| last.head <= heartbeat.head) {
            inner.heartbeat = Some(heartbeat);
        }
    }

    /// PostgreSQL was asked for its head.
    pub fn told(&self, head: Token, now: Instant) {
        let mut inner = self.0.lock();
        inner.asked = Some(now);
        inner.told(head, Authority::PostgreSql, now);
    }

    /// PostgreSQL has lost commits that this process has read, and has this head now. Revisions after it are given out
    /// again, so what was heard of them does not count.
    pub fn went_back(&self, head: Token, now: Instant) {
        let mut inner = self.0.lock();
        inner.forget_epoch();
        inner.asked = Some(now);
        inner.told(head, Authority::PostgreSql, now);
    }

    /// PostgreSQL was asked which database it is.
    pub fn told_database(&self, database: Uuid) {
        self.0.lock().database = Some(database);
    }

    /// An answer of PostgreSQL was of this revision. Answers overtake each other: one of an older epoch is ignored.
    pub fn answered(&self, as_of: Token, now: Instant) {
        let mut inner = self.0.lock();
        if inner.head.is_none_or(|head| head.epoch <= as_of.epoch) {
            inner.told(as_of, Authority::PostgreSql, now);
        }
    }

    /// A verified event of the log was read: the head is not before it.
    pub fn advanced(&self, at: Token, now: Instant) {
        let mut inner = self.0.lock();
        if inner.head.is_none_or(|head| head.epoch == at.epoch) {
            inner.raise(at, now);
        }
    }

    /// A read model shows this revision. It counts only until PostgreSQL or a heartbeat was heard.
    pub fn hint(&self, visible: Token, now: Instant) {
        let mut inner = self.0.lock();
        if inner.authority == Authority::ReadModel && inner.head.is_none_or(|head| head < visible) {
            inner.told_by_read_model(visible, now);
        }
    }

    /// False if a read model with this checkpoint is of another epoch or another database. One that does not name its
    /// database is judged by the epoch alone.
    pub fn same_history(&self, visible: Token, database: Option<Uuid>) -> bool {
        let inner = self.0.lock();
        let same_epoch = inner.head.is_none_or(|head| head.epoch == visible.epoch);
        same_epoch && inner.database.zip(database).is_none_or(|(ours, theirs)| ours == theirs)
    }

    /// The head, if PostgreSQL was asked for it since then.
    pub fn asked_since(&self, since: Instant) -> Option<Token> {
        let inner = self.0.lock();
        inner.head.filter(|_| inner.asked.is_some_and(|asked| asked >= since))
    }

    /// The present epoch, if any was heard of.
    pub fn epoch(&self) -> Option<Epoch> {
        self.0.lock().head.map(|head| head.epoch)
    }

    /// The newest head heard of.
    pub fn head(&self) -> Option<Token> {
        self.0.lock().head
    }

    /// The last heartbeat.
    pub fn last_heartbeat(&self) -> Option<Heartbeat> {
        self.0.lock().heartbeat
    }

    /// Age of the newest heartbeat, by this process's clock.
    pub fn heartbeat_age(&self, now: Instant) -> Option<Duration> {
        self.0.lock().last_heard.map(|heard| now.saturating_duration_since(heard.at))
    }

    /// PostgreSQL's time of day, as the last heartbeat told it.
    pub fn time(&self, now: Instant) -> Option<OffsetDateTime> {
        self.0.lock().last_heard.and_then(|heard| heard.time(now))
    }

    /// For how long something newer than this is known. Zero for the newest; the longest for another epoch.
    ///
    /// For what has no date it is a guess: the age of the nearest older revision that has one, or the time since this
    /// process heard of something newer.
    pub fn staleness(&self, of: Token, now: Instant) -> Duration {
        let inner = self.0.lock();
        match inner.head {
            Some(head) if head.epoch != of.epoch => return LONGEST_STALENESS,
            Some(head) if head > of => {}
            _ => return Duration::ZERO,
        }
        let missed = inner.first_after(of.revision);
        let known = if inner.undated(of, now) { missed.saturating_sub(1) } else { missed };
        let age = inner.heard.get(known).map(|(at, _)| now.saturating_duration_since(*at));
        age.unwrap_or_default().min(LONGEST_STALENESS)
    }

    /// Something newer than this was committed while this process did not listen, and nobody has told when.
    pub fn undated(&self, of: Token, now: Instant) -> bool {
        self.0.lock().undated(of, now)
    }

    /// A revision was committed so long ago.
    pub fn dated(&self, committed: Token, age: Duration, now: Instant) {
        self.0.lock().dated(committed, age, now);
    }
}

impl Inner {
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
            horizon.told(token(1, revision), start + seconds(at));
        }
        let now = start + seconds(5);
        assert_eq!(horizon.staleness(token(1, 30), now), Duration::ZERO);
        assert_eq!(horizon.staleness(token(1, 29), now), seconds(3));
        assert_eq!(horizon.staleness(token(1, 10), now), seconds(4));
        assert_eq!(horizon.staleness(token(1, 0), now), seconds(5));
    }

    #[test]
    fn what_was_committed_before_this_process_began_has_the_date_that_is_looked_up() {
        let now = Instant::now();
        let horizon = Horizon::default();
        // A read model may be the first that is heard of.
        horizon.hint(token(1, 10), now);
        horizon.told(token(1, 30), now);
        assert!(horizon.undated(token(1, 10), now) && horizon.undated(token(1, 29), now));
        assert!(!horizon.undated(token(1, 30), now));
        horizon.dated(token(1, 30), seconds(10), now);
        assert!(!horizon.undated(token(1, 29), now));
        assert_eq!(horizon.staleness(token(1, 29), now), seconds(10));
        horizon.dated(token(1, 11), seconds(90), now);
        assert!(!horizon.undated(token(1, 10), now));
        assert_eq!(horizon.staleness(token(1, 10), now), seconds(90));
        // It moves on a little: at least as old is the guess until that is looked up too.
        assert_eq!(horizon.staleness(token(1, 12), now), seconds(90));
        horizon.dated(token(1, 13), seconds(60), now);
        assert_eq!(horizon.staleness(token(1, 12), now), seconds(60));
        assert_eq!(horizon.staleness(token(1, 30), now), Duration::ZERO);
        // What comes from now on needs no look-up.
        horizon.told(token(1, 31), now + seconds(1));
        assert!(!horizon.undated(token(1, 30), now + seconds(1)));
        assert_eq!(horizon.staleness(token(1, 30), now + seconds(3)), seconds(2));
    }

    #[test]
    fn what_was_committed_while_nothing_was_heard_is_looked_up_too() {
        let start = Instant::now();
        let horizon = Horizon::default();
        horizon.told(token(1, 10), start);
        horizon.told(token(1, 12), start + seconds(1));
        let later = start + seconds(100);
        horizon.told(token(1, 40), later);
        assert!(horizon.undated(token(1, 20), later));
        horizon.dated(token(1, 21), seconds(50), later);
        assert_eq!(horizon.staleness(token(1, 20), later), seconds(50));
    }

    #[test]
    fn clocks_that_differ_put_nothing_out_of_order() {
        let now = Instant::now();
        let horizon = Horizon::default();
        horizon.told(token(1, 30), now);
        horizon.dated(token(1, 11), seconds(5), now);
        horizon.dated(token(1, 21), seconds(8), now);
        horizon.dated(token(1, 25), Duration::ZERO, now + seconds(1));
        let ages = [10, 20, 24].map(|revision| horizon.staleness(token(1, revision), now));
        assert_eq!(ages, [seconds(8), seconds(8), Duration::ZERO]);
    }

    #[test]
    fn what_is_as_old_as_can_be_told_is_not_looked_up_over_and_over() {
        let now = Instant::now();
        let horizon = Horizon::default();
        horizon.told(token(1, 30), now);
        for revision in [11, 21] {
            horizon.dated(token(1, revision), LONGEST_STALENESS * 2, now);
        }
        let later = now + seconds(1);
        horizon.told(token(1, 31), later);
        for revision in [10, 20] {
            assert!(!horizon.undated(token(1, revision), later));
            assert_eq!(horizon.staleness(token(1, revision), later), LONGEST_STALENESS);
        }
    }

    #[test]
    fn who_missed_a_head_long_ago_stays_stale_when_another_one_comes() {
        let start = Instant::now();
        let horizon = Horizon::default();
        horizon.advanced(token(1, 10), start);
        let later = start + LONGEST_STALENESS * 2;
        horizon.advanced(token(1, 11), later);
        assert_eq!(horizon.staleness(token(1, 9), later), LONGEST_STALENESS);
        assert_eq!(horizon.staleness(token(1, 10), later + seconds(1)), seconds(1));
    }

    #[test]
    fn nothing_is_stale_before_a_head_is_known() {
        assert_eq!(Horizon::default().staleness(token(1, 0), Instant::now()), Duration::ZERO);
    }

    fn heartbeat(head: Token) -> Heartbeat {
        Heartbeat { head, sent_at: prost_types::Timestamp::default() }
    }

    #[test]
    fn a_new_epoch_makes_the_old_one_stale() {
        let now = Instant::now();
        let horizon = Horizon::default();
        horizon.told(token(1, 900), now);
        horizon.told(token(2, 5), now);
        horizon.advanced(token(1, 901), now);
        horizon.heartbeat(heartbeat(token(1, 902)), now);
        assert_eq!((horizon.head(), horizon.last_heartbeat()), (Some(token(2, 5)), None));
        assert_eq!(horizon.staleness(token(1, 900), now), LONGEST_STALENESS);
        assert_eq!(horizon.staleness(token(2, 5), now), Duration::ZERO);
    }

    #[test]
    fn lost_commits_take_the_head_back() {
        let start = Instant::now();
        let horizon = Horizon::default();
        horizon.told(token(1, 100), start);
        horizon.advanced(token(1, 110), start);
        let now = start + seconds(60);
        horizon.told(token(1, 106), now);
        assert_eq!(horizon.head(), Some(token(1, 110)), "a standby that lags, as far as is known");
        horizon.went_back(token(1, 106), now);
        horizon.hint(token(1, 110), now);
        assert_eq!(horizon.head(), Some(token(1, 106)));
        assert_eq!(horizon.staleness(token(1, 106), now), Duration::ZERO);
    }

    #[test]
    fn a_read_model_never_changes_a_known_epoch() {
        let now = Instant::now();
        for hear in [
            (|horizon: &Horizon, now| horizon.told(token(1, 50), now)) as fn(&Horizon, Instant),
            |horizon, now| horizon.heartbeat(heartbeat(token(1, 50)), now),
        ] {
            let horizon = Horizon::default();
            hear(&horizon, now);
            horizon.hint(token(9, 900), now);
            horizon.hint(token(1, 60), now);
            assert_eq!(horizon.head(), Some(token(1, 50)));
            assert!(!horizon.same_history(token(9, 900), None));
            assert_eq!(horizon.staleness(token(1, 50), now), Duration::ZERO);
        }
    }

    #[test]
    fn postgres_overrides_what_read_models_and_heartbeats_said() {
        let now = Instant::now();
        let horizon = Horizon::default();
        horizon.hint(token(9, 900), now);
        assert_eq!(horizon.head(), Some(token(9, 900)));
        horizon.heartbeat(heartbeat(token(2, 7)), now);
        assert_eq!(horizon.head(), Some(token(2, 7)), "a heartbeat overrides a read model");
        horizon.told(token(1, 50), now);
        assert_eq!(horizon.head(), Some(token(1, 50)));
        // Of another installation on the same NATS.
        horizon.heartbeat(heartbeat(token(2, 8)), now + SILENCE);
        assert_eq!(horizon.head(), Some(token(1, 50)));
        horizon.heartbeat(heartbeat(token(2, 9)), now + SILENCE * 2);
        assert_eq!(horizon.head(), Some(token(2, 9)), "PostgreSQL has been silent");
    }

    #[test]
    fn another_database_is_another_history() {
        let horizon = Horizon::default();
        let (ours, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
        horizon.told(token(1, 50), Instant::now());
        assert!(horizon.same_history(token(1, 40), Some(theirs)), "ours is not known yet");
        horizon.told_database(ours);
        assert!(horizon.same_history(token(1, 40), Some(ours)));
        assert!(horizon.same_history(token(1, 40), None));
        assert!(!horizon.same_history(token(1, 40), Some(theirs)));
    }

    #[test]
    fn many_heads_in_a_moment_take_little_room() {
        let start = Instant::now();
        let horizon = Horizon::default();
        for revision in 0..100_000 {
            horizon.advanced(token(1, revision), start + Duration::from_micros(revision));
        }
        assert_eq!(horizon.0.lock().heard.len(), 1);
        assert_eq!(horizon.head(), Some(token(1, 99_999)));
        // The newest of them counts as missed too.
        assert!(horizon.staleness(token(1, 99_998), start + seconds(9)) >= seconds(8));
    }
}
