//! The checks of a process: which ones fail, since when, and what to do about it.
//!
//! Required checks decide whether the process gets traffic; observed ones are for operators. `/readyz`, the gRPC health
//! service and GetStatus all read this one list.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::clock::{SharedClock, SystemClock};

/// The declaration of a check, once per name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckKind {
    /// Its name.
    pub name: &'static str,
    /// Advice to the operator if it fails.
    pub action: &'static str,
}

impl CheckKind {
    /// The outcome of the check for `subject`; the reason if it fails.
    pub fn observed(self, subject: impl Into<String>, reason: Option<String>) -> Observation {
        Observation { kind: self, subject: subject.into(), reason }
    }
}

impl From<&'static str> for CheckKind {
    /// A check without advice: tests have no operators.
    fn from(name: &'static str) -> Self {
        Self { name, action: "" }
    }
}

/// One check at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Name and advice.
    pub kind: CheckKind,
    /// Distinguishes several checks of one name, such as one per replica; empty if there is one.
    pub subject: String,
    /// The process is not ready while it fails.
    pub required: bool,
    /// Why it fails; `None` while it passes.
    pub reason: Option<String>,
    /// Start of the current state.
    pub since: OffsetDateTime,
}

/// The outcome of an observed check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The check.
    pub kind: CheckKind,
    /// Distinguishes several checks of one name, such as one per replica; empty if there is one.
    pub subject: String,
    /// Why it fails; `None` if it passes.
    pub reason: Option<String>,
}

/// All checks at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// True once the process has begun to shut down.
    pub draining: bool,
    /// The checks of latches, in order of creation.
    latched: Vec<Check>,
    /// The observed checks of the last evaluation.
    evaluated: Vec<Check>,
}

impl Report {
    /// True if every required check passes and the process is not shutting down.
    pub fn ready(&self) -> bool {
        !self.draining && self.checks().all(|check| !check.required || check.reason.is_none())
    }

    /// All checks, the required ones first.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        let required = self.latched.iter().filter(|check| check.required);
        let observed = self.latched.iter().filter(|check| !check.required);
        required.chain(observed).chain(&self.evaluated)
    }
}

/// The checks of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct Readiness {
    report: Arc<watch::Sender<Report>>,
    clock: SharedClock,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// A set without checks: ready.
    pub fn new() -> Self {
        Self::with_clock(SystemClock::shared())
    }

    /// A set whose checks are dated by this clock.
    pub fn with_clock(clock: SharedClock) -> Self {
        Self { report: Arc::new(watch::channel(Report::default()).0), clock }
    }

    /// Adds a required check that does not pass yet, or returns the existing one of that name.
    pub fn latch(&self, kind: impl Into<CheckKind>) -> Latch {
        self.add(kind.into(), true)
    }

    /// Adds an observed check that one part of the process sets; it does not pass yet.
    pub fn observed_latch(&self, kind: impl Into<CheckKind>) -> Latch {
        self.add(kind.into(), false)
    }

    fn add(&self, kind: CheckKind, required: bool) -> Latch {
        let mut position = 0;
        self.report.send_if_modified(|report| {
            if let Some(found) = report.latched.iter().position(|check| check.kind.name == kind.name) {
                position = found;
                return false;
            }
            position = report.latched.len();
            report.latched.push(Check {
                kind,
                subject: String::new(),
                required,
                reason: Some("starting".to_owned()),
                since: self.clock.now(),
            });
            metrics::gauge!(crate::metrics::READY_CHECK, "check" => kind.name).set(0.0);
            required
        });
        Latch { readiness: self.clone(), position }
    }

    /// Replaces the observed checks that have no latch. A check keeps its date while its state stays the same.
    pub fn observe(&self, observed: Vec<Observation>) {
        self.report.send_if_modified(|report| {
            let before = std::mem::take(&mut report.evaluated);
            report.evaluated = observed.into_iter().map(|found| self.dated(found, &before)).collect();
            // Subscribers follow readiness, which does not depend on observed checks.
            false
        });
    }

    fn dated(&self, found: Observation, before: &[Check]) -> Check {
        let Observation { kind, subject, reason } = found;
        let known = before.iter().find(|check| check.kind.name == kind.name && check.subject == subject);
        let same = known.filter(|check| check.reason.is_some() == reason.is_some());
        if same.is_none() {
            log_change(kind.name, &subject, reason.as_deref(), known.is_some());
        }
        let since = same.map_or_else(|| self.clock.now(), |check| check.since);
        Check { kind, subject, required: false, reason, since }
    }

    /// The current checks.
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// True if every required check passes and the process is not shutting down.
    pub fn is_ready(&self) -> bool {
        self.report.borrow().ready()
    }

    /// Follows the required checks.
    pub fn subscribe(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Makes the process not ready for the rest of its life.
    pub fn drain(&self) {
        self.change(|report| !std::mem::replace(&mut report.draining, true));
    }

    fn change(&self, change: impl FnOnce(&mut Report) -> bool) {
        self.report.send_if_modified(|report| {
            let before = report.ready();
            let changed = change(report);
            let ready = report.ready();
            metrics::gauge!(crate::metrics::READY).set(if ready { 1.0 } else { 0.0 });
            if before != ready {
                tracing::info!(ready, draining = report.draining, "readiness changed");
            }
            changed
        });
    }
}

/// Logs that a check began to fail or to pass; not one that passes from the start.
fn log_change(check: &str, subject: &str, reason: Option<&str>, known: bool) {
    match reason {
        Some(reason) => tracing::warn!(check, subject, reason, "check fails"),
        None if known => tracing::info!(check, subject, "check passes"),
        None => {}
    }
}

/// A check, set by the part that knows its state.
#[derive(Debug, Clone)]
pub struct Latch {
    readiness: Readiness,
    position: usize,
}

impl Latch {
    /// Sets the check to pass. Cheap if it passes already.
    pub fn ready(&self) {
        self.set(None);
    }

    /// Sets the check to fail, with a reason. Cheap if the reason is the same.
    pub fn not_ready(&self, reason: &str) {
        self.set(Some(reason));
    }

    fn set(&self, reason: Option<&str>) {
        // Checks of latches are never removed, so the position stays valid.
        if self.readiness.report.borrow().latched[self.position].reason.as_deref() == reason {
            return;
        }
        let now = self.readiness.clock.now();
        self.readiness.change(|report| {
            let check = &mut report.latched[self.position];
            let turned = check.reason.is_none() != reason.is_none();
            check.reason = reason.map(str::to_owned);
            metrics::gauge!(crate::metrics::READY_CHECK, "check" => check.kind.name)
                .set(if reason.is_none() { 1.0 } else { 0.0 });
            if turned {
                check.since = now;
                log_change(check.kind.name, "", reason, true);
            }
            check.required
        });
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn ready_only_while_every_latch_is_released() {
        let readiness = Readiness::new();
        let (one, two) = (readiness.latch("one"), readiness.latch("two"));
        assert!(!readiness.is_ready());
        one.ready();
        assert!(!readiness.is_ready());
        two.ready();
        assert!(readiness.is_ready());
        one.not_ready("lost the other side");
        assert!(!readiness.is_ready());
        let report = readiness.report();
        let first = report.checks().next().expect("a check");
        assert_eq!((first.kind.name, first.reason.as_deref()), ("one", Some("lost the other side")));
    }

    #[test]
    fn a_name_is_one_check() {
        let readiness = Readiness::new();
        readiness.latch("one");
        readiness.latch("one").ready();
        assert!(readiness.is_ready());
        assert_eq!(readiness.report().checks().count(), 1);
    }

    #[test]
    fn an_observed_latch_is_shown_and_does_not_decide() {
        let readiness = Readiness::new();
        let observed = readiness.observed_latch("clock");
        readiness.latch("one").ready();
        observed.not_ready("an operator has to look");
        assert!(readiness.is_ready());
        let report = readiness.report();
        let shown: Vec<_> = report.checks().map(|check| (check.kind.name, check.required)).collect();
        assert_eq!(shown, [("one", true), ("clock", false)], "required checks come first");
        let clock = report.checks().nth(1).expect("a check");
        assert_eq!(clock.reason.as_deref(), Some("an operator has to look"));
    }

    #[test]
    fn draining_overrules_the_checks() {
        let readiness = Readiness::new();
        let latch = readiness.latch("one");
        latch.ready();
        readiness.drain();
        latch.ready();
        assert!(!readiness.is_ready());
        assert!(readiness.report().draining);
    }

    #[test]
    fn followers_hear_of_changes_only() {
        let readiness = Readiness::new();
        let latch = readiness.latch("one");
        let mut follower = readiness.subscribe();
        assert!(!follower.has_changed().expect("the sender lives"));
        latch.ready();
        assert!(follower.has_changed().expect("the sender lives"));
        follower.mark_unchanged();
        latch.ready();
        assert!(!follower.has_changed().expect("the sender lives"));
    }

    #[test]
    fn a_check_is_dated_by_its_last_turn() {
        let clock = ManualClock::at(START);
        let readiness = Readiness::with_clock(std::sync::Arc::new(clock.clone()));
        let latch = readiness.latch("one");
        let since = || readiness.report().checks().map(|check| check.since - START).collect::<Vec<_>>();
        clock.advance(Duration::seconds(1));
        latch.not_ready("another reason");
        assert_eq!(since(), [Duration::ZERO], "it fails since the start");
        latch.ready();
        assert_eq!(since(), [Duration::seconds(1)]);
    }

    #[test]
    fn observed_checks_keep_their_dates_and_do_not_decide_readiness() {
        let clock = ManualClock::at(START);
        let readiness = Readiness::with_clock(std::sync::Arc::new(clock.clone()));
        let observe = |found: &[(&str, Option<&str>)]| {
            let observation = |(subject, reason): &(&str, Option<&str>)| Observation {
                kind: "replica".into(),
                subject: (*subject).to_owned(),
                reason: reason.map(str::to_owned),
            };
            readiness.observe(found.iter().map(observation).collect());
            readiness.report().checks().map(|check| (check.since - START).whole_seconds()).collect::<Vec<_>>()
        };
        assert_eq!(observe(&[("a", None), ("b", Some("gone"))]), [0, 0]);
        assert!(readiness.is_ready());
        clock.advance(Duration::seconds(1));
        assert_eq!(observe(&[("b", Some("still gone")), ("a", Some("slow"))]), [0, 1]);
        clock.advance(Duration::seconds(1));
        assert_eq!(observe(&[("a", Some("slow"))]), [1], "b is no longer there");
        assert_eq!(observe(&[("b", None), ("a", None)]), [2, 2]);
    }
}
