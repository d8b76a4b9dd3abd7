//! The checks of query-service: names, advice, and evaluation.

use std::borrow::Cow;
use std::time::Duration;

use service_kit::readiness::{CheckKind, Observation};

use crate::replicas::ReplicaHealth;

/// command-service sends its heartbeat twice a second.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// At least one store can answer.
pub const STORES: CheckKind = CheckKind {
    name: "stores",
    action: "do as the reason says, or bring PostgreSQL or one Neo4j back: runbook FollowgraphStoreAway",
};
/// The settings lead to usable servers, as far as only the servers can show.
pub const SETTINGS: CheckKind =
    CheckKind { name: "settings", action: "change the setting that the reason names, then restart" };
const HEARTBEAT: CheckKind = CheckKind {
    name: "heartbeat",
    action: "check that NATS is up, that this process reaches it, and that command-service runs",
};
/// Each store answers.
const STORE: CheckKind = CheckKind {
    name: "store",
    action: "do as the reason says; else check that the store runs and this process reaches it: runbook \
             FollowgraphStoreAway",
};
/// Each read model is up to date.
const LAG: CheckKind =
    CheckKind { name: "lag", action: "look for what slows its projector: runbook FollowgraphPipelineLag" };

/// Input of the checks. Stores that READ_SOURCE excludes are absent.
pub struct Known<'a> {
    /// Age of the newest heartbeat; `None` before the first.
    pub heartbeat_age: Option<Duration>,
    /// The replicas of the read model.
    pub replicas: &'a [ReplicaHealth],
    /// State of PostgreSQL: the problem, if it does not answer. `None` if it is not read.
    pub postgres: Option<Option<Cow<'static, str>>>,
}

/// Evaluates the checks. `followgraph status` only prints them.
pub fn observe(known: &Known<'_>) -> Vec<Observation> {
    let heartbeat = match known.heartbeat_age {
        None => Some("no heartbeat of a command-service has arrived".to_owned()),
        Some(age) if age > LONGEST_SILENCE => Some(format!("the last heartbeat is {} s old", age.as_secs())),
        Some(_) => None,
    };
    let mut found = vec![HEARTBEAT.observed("command-service", heartbeat)];
    for replica in known.replicas {
        let subject = format!("neo4j {}", replica.name);
        let lag = (replica.lagging && replica.problem.is_none()).then(|| {
            let seconds = replica.staleness.as_secs();
            let others = if known.replicas.len() > 1 { ", and other replicas are preferred" } else { "" };
            format!("it is {seconds} s behind{others}")
        });
        found.push(STORE.observed(subject.clone(), replica.problem.as_deref().map(str::to_owned)));
        found.push(LAG.observed(subject, lag));
    }
    if let Some(postgres) = &known.postgres {
        found.push(STORE.observed("postgres", postgres.as_deref().map(str::to_owned)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(name: &str, problem: Option<&'static str>, lagging: bool) -> ReplicaHealth {
        let problem = problem.map(Cow::from);
        ReplicaHealth {
            name: name.into(),
            problem,
            visible: None,
            staleness: Duration::from_secs(9),
            lagging,
        }
    }

    fn failed(known: &Known<'_>) -> Vec<(&'static str, String, String)> {
        let failed = |found: Observation| Some((found.kind.name, found.subject, found.reason?));
        observe(known).into_iter().filter_map(failed).collect()
    }

    #[test]
    fn an_old_heartbeat_fails_and_so_does_none() {
        let heard = |heartbeat_age| failed(&Known { heartbeat_age, replicas: &[], postgres: Some(None) });
        assert_eq!(heard(Some(LONGEST_SILENCE)), []);
        assert_eq!(heard(Some(Duration::from_secs(6)))[0].2, "the last heartbeat is 6 s old");
        assert_eq!(heard(None)[0].2, "no heartbeat of a command-service has arrived");
    }

    #[test]
    fn each_store_fails_by_its_name() {
        let replicas = [replica("a", Some("does not answer"), true), replica("b", None, true)];
        let known = Known {
            heartbeat_age: Some(Duration::ZERO),
            replicas: &replicas,
            postgres: Some(Some("it refuses the login: check DATABASE_URL".into())),
        };
        let failed = failed(&known);
        assert_eq!(failed[2].2, "it refuses the login: check DATABASE_URL");
        let names: Vec<_> = failed.into_iter().map(|(name, subject, _)| (name, subject)).collect();
        let wanted = [("store", "neo4j a"), ("lag", "neo4j b"), ("store", "postgres")];
        assert_eq!(names, wanted.map(|(name, subject)| (name, subject.to_owned())));
    }

    #[test]
    fn a_store_that_is_left_out_is_no_check() {
        let known = Known { heartbeat_age: Some(Duration::ZERO), replicas: &[], postgres: None };
        assert!(observe(&known).iter().all(|found| found.kind.name == "heartbeat"));
    }

    #[test]
    fn every_check_is_in_the_operations_guide() {
        let guide = include_str!("../../docs/operations.md");
        for kind in [STORES, SETTINGS, HEARTBEAT, STORE, LAG] {
            assert!(guide.contains(&format!("| `{}`", kind.name)), "{}", kind.name);
            assert!(!kind.action.is_empty(), "{}", kind.name);
        }
    }
}
