//! The check `settings`: whether the settings lead to usable servers, as far as only the servers can show.
//!
//! It fails the readiness of a process that starts with unusable settings, so that a rollout stops before it replaces
//! the last working process. A server that was used once is not checked again: a running process continues with its
//! other stores, and the breakers report failures.

use std::sync::Arc;

use parking_lot::Mutex;
use service_kit::Latch;

use crate::queries::Error;

/// The check. Clones share it.
#[derive(Clone, Debug)]
pub struct SettingsCheck {
    latch: Latch,
    found: Arc<Mutex<Found>>,
}

#[derive(Debug)]
struct Found {
    postgres: ServerState,
    replicas: Vec<(Arc<str>, ServerState)>,
}

/// The result for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ServerState {
    /// It was not tried yet.
    Unasked,
    /// It does not answer; other checks report that.
    Away,
    /// It cannot be used, for this reason.
    Misconfigured(String),
    /// It was used at least once.
    Used,
}

impl ServerState {
    fn learn<T>(&mut self, outcome: &Result<T, Error>) {
        if *self == Self::Used {
            return;
        }
        *self = match outcome {
            Ok(_) => Self::Used,
            Err(Error::Misconfigured(problem)) => Self::Misconfigured(problem.clone()),
            Err(_) => Self::Away,
        };
    }

    fn problem(&self) -> Option<&str> {
        match self {
            Self::Misconfigured(problem) => Some(problem),
            _ => None,
        }
    }
}

impl SettingsCheck {
    /// The check of PostgreSQL and of these replicas of the read model; `None` for stores that are not read.
    pub fn new(latch: Latch, replicas: impl IntoIterator<Item = Arc<str>>) -> Self {
        let replicas = replicas.into_iter().map(|name| (name, ServerState::Unasked)).collect();
        let found = Found { postgres: ServerState::Unasked, replicas };
        Self { latch, found: Arc::new(Mutex::new(found)) }
    }

    /// Records the outcome of a read of PostgreSQL.
    pub fn postgres<T>(&self, outcome: &Result<T, Error>) {
        self.update(|found| found.postgres.learn(outcome));
    }

    /// Records the outcome of a read of a replica.
    pub fn replica<T>(&self, name: &str, outcome: &Result<T, Error>) {
        self.update(|found| {
            if let Some((_, state)) = found.replicas.iter_mut().find(|(known, _)| &**known == name) {
                state.learn(outcome);
            }
        });
    }

    /// True if a replica has not been usable yet.
    pub fn is_open(&self, name: &str) -> bool {
        let found = self.found.lock();
        found.replicas.iter().any(|(known, state)| &**known == name && *state != ServerState::Used)
    }

    fn update(&self, learn: impl FnOnce(&mut Found)) {
        let mut found = self.found.lock();
        learn(&mut found);
        match found.problem() {
            Some(problem) => self.latch.not_ready(&problem),
            None if found.all_asked() => self.latch.ready(),
            None => {}
        }
    }
}

impl Found {
    fn all_asked(&self) -> bool {
        let replicas = self.replicas.iter().map(|(_, state)| state);
        replicas.chain([&self.postgres]).all(|state| *state != ServerState::Unasked)
    }

    /// One usable replica is enough.
    fn problem(&self) -> Option<String> {
        let postgres = self.postgres.problem().map(str::to_owned);
        postgres.or_else(|| {
            let misconfigured: Option<Vec<_>> =
                self.replicas.iter().map(|(name, state)| Some((name, state.problem()?))).collect();
            let misconfigured = misconfigured?;
            misconfigured.first().map(|(name, problem)| format!("the Neo4j of {name}: {problem}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use service_kit::Readiness;

    use super::*;

    const AWAY: Result<(), Error> = Err(Error::TimedOut);

    fn misconfigured() -> Result<(), Error> {
        Err(Error::Misconfigured("another database".to_owned()))
    }

    fn check(replicas: &[&str]) -> (Readiness, SettingsCheck) {
        let readiness = Readiness::new();
        let latch = readiness.latch("settings");
        (readiness, SettingsCheck::new(latch, replicas.iter().map(|name| Arc::from(*name))))
    }

    #[test]
    fn every_server_is_asked_before_the_check_passes() {
        let (readiness, check) = check(&["a", "b"]);
        check.postgres(&AWAY);
        check.replica("a", &Ok(()));
        assert!(!readiness.is_ready());
        check.replica("b", &AWAY);
        assert!(readiness.is_ready());
    }

    #[test]
    fn postgres_or_all_replicas_hold_the_process_back() {
        let (readiness, check) = check(&["a", "b"]);
        check.postgres(&misconfigured());
        check.replica("a", &misconfigured());
        check.replica("b", &AWAY);
        assert!(!readiness.is_ready());
        check.postgres(&AWAY);
        assert!(readiness.is_ready(), "one replica may still be usable");
        check.replica("b", &misconfigured());
        let report = readiness.report();
        let reason = report.checks().next().and_then(|check| check.reason.clone());
        assert_eq!(reason.as_deref(), Some("the Neo4j of a: another database"));
    }

    #[test]
    fn a_server_that_was_used_is_not_judged_again() {
        let (readiness, check) = check(&[]);
        check.postgres(&Ok(()));
        check.postgres(&misconfigured());
        assert!(readiness.is_ready());
    }
}
