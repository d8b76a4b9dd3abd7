//! Whether the process should get traffic.
//!
//! Owns: the named checks, their reasons, and the drain flag that overrules them.
//! Must not know: what the checks check, and who asks (HTTP probe, gRPC health).
//! What can go wrong: a check that nobody releases keeps the process out of service; its name and reason say so.

use std::sync::Arc;

use tokio::sync::watch;

/// One named check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Why it does not pass; `None` while it passes.
    pub reason: Option<String>,
    /// The process serves although this check fails: an operator has to act, but traffic need not move.
    pub advisory: bool,
}

/// All checks at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// True once the process has begun to shut down.
    pub draining: bool,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
}

impl Report {
    /// True if every check passes, advisory ones aside, and the process is not shutting down.
    pub fn ready(&self) -> bool {
        !self.draining && self.checks.iter().all(|check| check.advisory || check.reason.is_none())
    }
}

/// The set of checks. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<Report>>);

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// A set without checks: ready.
    pub fn new() -> Self {
        Self(Arc::new(watch::channel(Report::default()).0))
    }

    /// Adds a check that does not pass yet. Asking again for a name gives the same check.
    pub fn latch(&self, name: &str) -> Latch {
        self.add(name, false)
    }

    /// Adds a check that is shown and does not decide whether the process is ready.
    pub fn advisory(&self, name: &str) -> Latch {
        self.add(name, true)
    }

    fn add(&self, name: &str, advisory: bool) -> Latch {
        let mut position = 0;
        self.0.send_if_modified(|report| {
            if let Some(found) = report.checks.iter().position(|check| check.name == name) {
                position = found;
                return false;
            }
            position = report.checks.len();
            report.checks.push(Check {
                name: name.to_owned(),
                reason: Some("starting".to_owned()),
                advisory,
            });
            metrics::gauge!(crate::metrics::READY_CHECK, "check" => name.to_owned()).set(0.0);
            true
        });
        Latch { readiness: self.clone(), position }
    }

    /// All checks now.
    pub fn report(&self) -> Report {
        self.0.borrow().clone()
    }

    /// True if every check passes and the process is not shutting down.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().ready()
    }

    /// Follows the checks.
    pub fn subscribe(&self) -> watch::Receiver<Report> {
        self.0.subscribe()
    }

    /// From now on the process is not ready, whatever the checks say.
    pub fn drain(&self) {
        self.change(|report| !std::mem::replace(&mut report.draining, true));
    }

    fn change(&self, change: impl FnOnce(&mut Report) -> bool) {
        self.0.send_if_modified(|report| {
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

/// One check, held by whoever knows whether it passes.
#[derive(Debug, Clone)]
pub struct Latch {
    readiness: Readiness,
    position: usize,
}

impl Latch {
    /// The check passes. Cheap if it did already.
    pub fn ready(&self) {
        self.set(None);
    }

    /// The check does not pass, and why. Cheap if nothing changes.
    pub fn not_ready(&self, reason: &str) {
        self.set(Some(reason));
    }

    fn set(&self, reason: Option<&str>) {
        // Checks are never removed, so the position stays valid.
        if self.readiness.0.borrow().checks[self.position].reason.as_deref() == reason {
            return;
        }
        self.readiness.change(|report| {
            let check = &mut report.checks[self.position];
            let turned = check.reason.is_none() != reason.is_none();
            check.reason = reason.map(str::to_owned);
            metrics::gauge!(crate::metrics::READY_CHECK, "check" => check.name.clone())
                .set(if reason.is_none() { 1.0 } else { 0.0 });
            if turned {
                match reason {
                    None => tracing::info!(check = check.name, "check passes"),
                    Some(reason) => tracing::warn!(check = check.name, reason, "check fails"),
                }
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            readiness.report().checks[0],
            Check { name: "one".into(), reason: Some("lost the other side".into()), advisory: false }
        );
    }

    #[test]
    fn a_name_is_one_check() {
        let readiness = Readiness::new();
        readiness.latch("one");
        readiness.latch("one").ready();
        assert!(readiness.is_ready());
        assert_eq!(readiness.report().checks.len(), 1);
    }

    #[test]
    fn an_advisory_check_is_shown_and_does_not_decide() {
        let readiness = Readiness::new();
        readiness.latch("one").ready();
        let advisory = readiness.advisory("two");
        advisory.not_ready("an operator has to look");
        assert!(readiness.is_ready());
        assert_eq!(readiness.report().checks[1].reason.as_deref(), Some("an operator has to look"));
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
}
