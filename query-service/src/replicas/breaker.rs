//! The circuit breaker of one store: decides from outcomes whether the store receives reads.
//!
//! Callers' requests never test a store whose breaker is open. A background probe does, so that a dead store costs a
//! request nothing. A store that answers probes and fails requests would flap, so each relapse doubles the time that
//! the breaker stays open, up to a bound. Reads of a healthy store take no lock.
//!
//! Written here because the known crates test a store with the next caller's request, and only count calls.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures are counted over this window and the previous one.
const WINDOW: Duration = Duration::from_secs(1);
/// Number of failures that open the breaker if they are consecutive, or at least half of the calls.
const MIN_FAILURES: u32 = 5;
/// Number of consecutive failures of probes that open it: a single pause of a store is not an outage.
const FAILED_PROBES: u32 = 2;
/// Shortest time that it stays open.
const SHORTEST_HOLD: Duration = Duration::from_millis(250);
/// Longest time that it stays open while probes succeed.
const LONGEST_HOLD: Duration = Duration::from_secs(8);
/// Time without a relapse after which the store counts as healthy again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(30);

/// Why a store receives no reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It has not been reached since the start of the process.
    NotReachedYet = 1,
    /// Probes fail.
    Unreachable,
    /// Requests fail or time out.
    Failing,
}

impl Cause {
    const ALL: [Self; 3] = [Self::NotReachedYet, Self::Unreachable, Self::Failing];

    /// Label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotReachedYet => "not_reached_yet",
            Self::Unreachable => "unreachable",
            Self::Failing => "failing",
        }
    }

    /// Description for operators.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotReachedYet => "not reached since the start",
            Self::Unreachable => "does not answer probes",
            Self::Failing => "requests fail or take too long",
        }
    }
}

#[derive(Debug)]
enum State {
    Closed { since: Instant },
    Open { cause: Cause, until: Instant },
}

/// State that changes rarely; reads of a healthy store do not access it.
#[derive(Debug)]
struct Inner {
    state: State,
    hold: Duration,
    failed_probes: u32,
    /// Result of the last probe, if it has a description.
    found: Option<String>,
    /// Failures in the current window.
    failures: u32,
    previous: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    calls: u32,
    failures: u32,
}

/// Decides whether a store receives reads. Starts open: the first probe closes it.
#[derive(Debug)]
pub struct Breaker {
    /// The cause for which the breaker is open; 0 while it is closed. Written under the lock.
    cause: AtomicU8,
    /// Failures since the last answer.
    streak: AtomicU32,
    /// Calls in the current window.
    calls: AtomicU32,
    /// When the current window began, in nanoseconds after `origin`. Written under the lock.
    window: AtomicU64,
    origin: Instant,
    inner: Mutex<Inner>,
}

impl Breaker {
    /// An open breaker, before its first probe.
    pub fn new(now: Instant) -> Self {
        let cause = Cause::NotReachedYet;
        Self {
            cause: AtomicU8::new(cause as u8),
            streak: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            window: AtomicU64::new(0),
            origin: now,
            inner: Mutex::new(Inner {
                state: State::Open { cause, until: now },
                hold: SHORTEST_HOLD,
                failed_probes: 0,
                found: None,
                failures: 0,
                previous: Tally::default(),
            }),
        }
    }

    /// Why the store must not receive reads; `None` if it may.
    pub fn open(&self) -> Option<Cause> {
        let cause = self.cause.load(Ordering::Acquire);
        Cause::ALL.into_iter().find(|open| *open as u8 == cause)
    }

    /// Description of the cause for operators: the result of the last probe, or else the cause.
    pub fn problem(&self) -> Option<Cow<'static, str>> {
        let cause = self.open()?;
        let found = self.inner.lock().found.clone();
        Some(found.map_or(Cow::Borrowed(cause.text()), Cow::Owned))
    }

    /// Records that a request was answered.
    pub fn success(&self, now: Instant) {
        // Others write here only while requests fail.
        if self.streak.load(Ordering::Relaxed) > 0 {
            self.streak.store(0, Ordering::Relaxed);
        }
        if self.age(now) >= WINDOW {
            self.rotate(&mut self.inner.lock(), now);
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that a request failed, or was not answered within the time that a healthy store needs.
    pub fn failure(&self, now: Instant) {
        let mut inner = self.inner.lock();
        self.rotate(&mut inner, now);
        inner.failures += 1;
        let streak = self.streak.fetch_add(1, Ordering::Relaxed) + 1;
        let failures = inner.failures + inner.previous.failures;
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1 + inner.previous.calls;
        let many = failures >= MIN_FAILURES && failures * 2 >= calls;
        if many || streak >= MIN_FAILURES {
            self.trip(&mut inner, Cause::Failing, now);
        }
    }

    /// Records that a probe failed; `found` describes why, if known.
    pub fn probe_failed(&self, now: Instant, found: Option<String>) {
        let mut inner = self.inner.lock();
        inner.failed_probes += 1;
        inner.found = found;
        if inner.failed_probes < FAILED_PROBES {
            return;
        }
        match inner.state {
            State::Closed { .. } => self.trip(&mut inner, Cause::Unreachable, now),
            State::Open { cause: Cause::Failing, .. } => self.open_until(&mut inner, Cause::Unreachable, now),
            State::Open { .. } => {}
        }
    }

    /// Records that a probe was answered. True if the breaker may close now: the caller warms the store up and calls
    /// [`Self::close`].
    pub fn probe_succeeded(&self, now: Instant) -> bool {
        let mut inner = self.inner.lock();
        inner.failed_probes = 0;
        inner.found = None;
        match inner.state {
            State::Closed { .. } => false,
            State::Open { until, .. } => now >= until,
        }
    }

    /// Closes the breaker.
    pub fn close(&self, now: Instant) {
        let mut inner = self.inner.lock();
        inner.state = State::Closed { since: now };
        inner.failed_probes = 0;
        inner.found = None;
        inner.failures = 0;
        inner.previous = Tally::default();
        self.streak.store(0, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
        self.window.store(self.nanos(now), Ordering::Relaxed);
        self.cause.store(0, Ordering::Release);
    }

    /// Starts the next window if the current one is over. Concurrent answers may count in either.
    fn rotate(&self, inner: &mut Inner, now: Instant) {
        let age = self.age(now);
        if age < WINDOW {
            return;
        }
        let current = Tally {
            calls: self.calls.swap(0, Ordering::Relaxed),
            failures: std::mem::take(&mut inner.failures),
        };
        // After a window without calls, the previous one is outdated.
        inner.previous = if age < WINDOW * 2 { current } else { Tally::default() };
        self.window.store(self.nanos(now), Ordering::Relaxed);
    }

    fn trip(&self, inner: &mut Inner, cause: Cause, now: Instant) {
        let State::Closed { since } = inner.state else {
            // Requests that began before it opened.
            return;
        };
        let held = now.saturating_duration_since(since);
        inner.hold = if held >= FORGIVEN_AFTER { SHORTEST_HOLD } else { (inner.hold * 2).min(LONGEST_HOLD) };
        let until = now + inner.hold;
        self.open_until(inner, cause, until);
    }

    fn open_until(&self, inner: &mut Inner, cause: Cause, until: Instant) {
        inner.state = State::Open { cause, until };
        self.cause.store(cause as u8, Ordering::Release);
    }

    /// Age of the current window.
    fn age(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.nanos(now).saturating_sub(self.window.load(Ordering::Relaxed)))
    }

    fn nanos(&self, at: Instant) -> u64 {
        // A u64 of nanoseconds lasts for centuries.
        u64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(now: Instant) -> Breaker {
        let breaker = Breaker::new(now);
        assert!(breaker.probe_succeeded(now));
        breaker.close(now);
        breaker
    }

    /// Opens a closed breaker because requests fail, and returns how long it stays open.
    fn relapse(breaker: &Breaker, now: Instant) -> Duration {
        (0..MIN_FAILURES).for_each(|_| breaker.failure(now));
        assert_eq!(breaker.open(), Some(Cause::Failing));
        let mut hold = Duration::ZERO;
        while !breaker.probe_succeeded(now + hold) {
            hold += SHORTEST_HOLD;
        }
        breaker.close(now + hold);
        hold
    }

    #[test]
    fn it_is_open_until_the_first_probe() {
        let now = Instant::now();
        let breaker = Breaker::new(now);
        assert_eq!(breaker.open(), Some(Cause::NotReachedYet));
        breaker.probe_failed(now, None);
        assert_eq!(breaker.open(), Some(Cause::NotReachedYet));
        assert!(breaker.probe_succeeded(now));
        breaker.close(now);
        assert_eq!(breaker.open(), None);
    }

    #[test]
    fn the_problem_is_what_the_last_probe_found() {
        let now = Instant::now();
        let breaker = Breaker::new(now);
        assert_eq!(breaker.problem().as_deref(), Some("not reached since the start"));
        breaker.probe_failed(now, Some("it refuses the login".to_owned()));
        assert_eq!(breaker.problem().as_deref(), Some("it refuses the login"));
        breaker.probe_failed(now, None);
        assert_eq!(breaker.problem().as_deref(), Some("not reached since the start"));
        breaker.close(now);
        breaker.probe_failed(now, Some("it refuses the login".to_owned()));
        assert_eq!(breaker.problem(), None, "it still gets reads");
        breaker.probe_failed(now, Some("it refuses the login".to_owned()));
        assert_eq!(breaker.problem().as_deref(), Some("it refuses the login"));
        assert!(breaker.probe_succeeded(now + LONGEST_HOLD));
        assert_eq!(breaker.problem().as_deref(), Some("does not answer probes"), "it is warmed up first");
    }

    #[test]
    fn a_few_failures_among_many_answers_do_not_open_it() {
        let now = Instant::now();
        let breaker = closed(now);
        for _ in 0..20 {
            (0..5).for_each(|_| breaker.success(now));
            breaker.failure(now);
        }
        assert_eq!(breaker.open(), None);
    }

    #[test]
    fn failures_in_a_row_open_it_whatever_was_before() {
        let now = Instant::now();
        let breaker = closed(now);
        (0..1_000).for_each(|_| breaker.success(now));
        (0..MIN_FAILURES).for_each(|_| breaker.failure(now));
        assert_eq!(breaker.open(), Some(Cause::Failing));
    }

    #[test]
    fn failures_that_are_half_of_the_calls_open_it() {
        let now = Instant::now();
        let breaker = closed(now);
        for _ in 0..MIN_FAILURES {
            assert_eq!(breaker.open(), None);
            breaker.success(now);
            breaker.failure(now);
        }
        assert_eq!(breaker.open(), Some(Cause::Failing));
    }

    #[test]
    fn failures_open_it_and_only_a_probe_closes_it() {
        let now = Instant::now();
        let breaker = closed(now);
        (1..MIN_FAILURES).for_each(|_| breaker.failure(now));
        assert_eq!(breaker.open(), None);
        breaker.failure(now);
        assert_eq!(breaker.open(), Some(Cause::Failing));
        // A request that began earlier is answered too late to count.
        breaker.success(now);
        assert_eq!(breaker.open(), Some(Cause::Failing));
        assert!(!breaker.probe_succeeded(now), "it must stay open for a while");
        assert!(breaker.probe_succeeded(now + LONGEST_HOLD));
    }

    #[test]
    fn old_failures_are_forgotten() {
        let now = Instant::now();
        let breaker = closed(now);
        (1..MIN_FAILURES).for_each(|_| breaker.failure(now));
        breaker.success(now + WINDOW);
        breaker.failure(now + WINDOW * 3);
        assert_eq!(breaker.open(), None);
    }

    #[test]
    fn one_lost_probe_is_not_a_death_and_two_are() {
        let now = Instant::now();
        let breaker = closed(now);
        breaker.probe_failed(now, None);
        assert_eq!(breaker.open(), None);
        assert!(!breaker.probe_succeeded(now));
        breaker.probe_failed(now, None);
        breaker.probe_failed(now, None);
        assert_eq!(breaker.open(), Some(Cause::Unreachable));
    }

    #[test]
    fn relapses_hold_it_open_for_longer_and_a_long_health_is_rewarded() {
        let now = Instant::now();
        let breaker = closed(now);
        let first = relapse(&breaker, now);
        let second = relapse(&breaker, now + first);
        assert!(second > first, "{second:?} after {first:?}");
        let mut now = now + first + second;
        for _ in 0..20 {
            let hold = relapse(&breaker, now);
            assert!(hold <= LONGEST_HOLD);
            now += hold;
        }
        let rested = relapse(&breaker, now + FORGIVEN_AFTER);
        assert_eq!(rested, SHORTEST_HOLD);
    }
}
