//! The circuit breaker of one store.
//!
//! Owns: deciding from outcomes whether a store is asked at all. Callers' requests never test a store that is open: a
//! probe in the background does, so that a dead store costs a request nothing. It must not know what the store is.
//! What can go wrong: a store that answers probes and fails requests would flap; each relapse doubles the time that the
//! breaker stays open, up to a bound.
//!
//! Written here because the known crates test a store with the next caller's request, and count calls only.

use std::borrow::Cow;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures are counted over this window and the one before.
const WINDOW: Duration = Duration::from_secs(1);
/// So many failures open it if they come one after the other, or are at least half of the calls.
const MIN_FAILURES: u32 = 5;
/// Probes that must fail in a row: one pause of a store is not its death.
const FAILED_PROBES: u32 = 2;
/// Shortest time that it stays open.
const SHORTEST_HOLD: Duration = Duration::from_millis(250);
/// Longest time that it stays open while probes succeed.
const LONGEST_HOLD: Duration = Duration::from_secs(8);
/// A store that held for so long is taken for healthy again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(30);

/// Why a store is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was not reached yet since the start of the process.
    NotReachedYet,
    /// Probes fail.
    Unreachable,
    /// Requests fail or take too long.
    Failing,
}

impl Cause {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotReachedYet => "not_reached_yet",
            Self::Unreachable => "unreachable",
            Self::Failing => "failing",
        }
    }

    /// The same in words.
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

#[derive(Debug)]
struct Inner {
    state: State,
    hold: Duration,
    failed_probes: u32,
    /// What the last probe found, if it can tell.
    found: Option<String>,
    /// Failures since the last answer.
    streak: u32,
    window: Instant,
    current: Tally,
    previous: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    calls: u32,
    failures: u32,
}

/// Decides whether a store is asked. Starts open: the first probe closes it.
#[derive(Debug)]
pub struct Breaker(Mutex<Inner>);

impl Breaker {
    /// A breaker that waits for its first probe.
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Inner {
            state: State::Open { cause: Cause::NotReachedYet, until: now },
            hold: SHORTEST_HOLD,
            failed_probes: 0,
            found: None,
            streak: 0,
            window: now,
            current: Tally::default(),
            previous: Tally::default(),
        }))
    }

    /// Why the store must not be asked; `None` if it may be.
    pub fn open(&self) -> Option<Cause> {
        match self.0.lock().state {
            State::Closed { .. } => None,
            State::Open { cause, .. } => Some(cause),
        }
    }

    /// The same in words, for operators: what the last probe found, or else the cause.
    pub fn problem(&self) -> Option<Cow<'static, str>> {
        let inner = self.0.lock();
        let State::Open { cause, .. } = inner.state else { return None };
        Some(inner.found.clone().map_or(Cow::Borrowed(cause.text()), Cow::Owned))
    }

    /// A request was answered.
    pub fn success(&self, now: Instant) {
        let mut inner = self.0.lock();
        inner.streak = 0;
        inner.tally(now).calls += 1;
    }

    /// A request failed, or was not answered within the time that a healthy store needs.
    pub fn failure(&self, now: Instant) {
        let mut inner = self.0.lock();
        let tally = inner.tally(now);
        tally.calls += 1;
        tally.failures += 1;
        inner.streak += 1;
        let failures = inner.current.failures + inner.previous.failures;
        let calls = inner.current.calls + inner.previous.calls;
        let many = failures >= MIN_FAILURES && failures * 2 >= calls;
        if many || inner.streak >= MIN_FAILURES {
            inner.trip(Cause::Failing, now);
        }
    }

    /// A probe failed; `found` says why in words, if it can tell.
    pub fn probe_failed(&self, now: Instant, found: Option<String>) {
        let mut inner = self.0.lock();
        inner.failed_probes += 1;
        inner.found = found;
        let enough = inner.failed_probes >= FAILED_PROBES;
        match &mut inner.state {
            State::Closed { .. } if enough => inner.trip(Cause::Unreachable, now),
            State::Closed { .. } => {}
            State::Open { cause: Cause::Failing, .. } if enough => inner.state = unreachable(now),
            State::Open { .. } => {}
        }
    }

    /// A probe was answered. True if the breaker may close now: the caller warms the store up and calls
    /// [`Self::close`].
    pub fn probe_succeeded(&self, now: Instant) -> bool {
        let mut inner = self.0.lock();
        inner.failed_probes = 0;
        inner.found = None;
        match inner.state {
            State::Closed { .. } => false,
            State::Open { until, .. } => now >= until,
        }
    }

    /// The store is asked again.
    pub fn close(&self, now: Instant) {
        let mut inner = self.0.lock();
        inner.state = State::Closed { since: now };
        inner.failed_probes = 0;
        inner.found = None;
        inner.streak = 0;
        inner.current = Tally::default();
        inner.previous = Tally::default();
        inner.window = now;
    }
}

fn unreachable(until: Instant) -> State {
    State::Open { cause: Cause::Unreachable, until }
}

impl Inner {
    fn tally(&mut self, now: Instant) -> &mut Tally {
        let age = now.saturating_duration_since(self.window);
        if age >= WINDOW {
            // After a silent window the one before tells nothing any more.
            self.previous = if age < WINDOW * 2 { self.current } else { Tally::default() };
            self.current = Tally::default();
            self.window = now;
        }
        &mut self.current
    }

    fn trip(&mut self, cause: Cause, now: Instant) {
        let State::Closed { since } = self.state else {
            // Requests that began before it opened.
            return;
        };
        let held = now.saturating_duration_since(since);
        self.hold = if held >= FORGIVEN_AFTER { SHORTEST_HOLD } else { (self.hold * 2).min(LONGEST_HOLD) };
        self.state = State::Open { cause, until: now + self.hold };
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

    /// Opens a closed breaker by failing requests, and answers how long it stays open.
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
        assert_eq!(breaker.problem(), None, "it is still asked");
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
        // A request that began before is answered: too late to matter.
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
