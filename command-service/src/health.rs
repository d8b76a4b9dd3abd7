//! Readiness checks of command-service: names, advice, and those that are evaluated from the status.

use std::time::Duration;

use proto::graph::v1::{ReplicaStatus, StreamState, StreamStatus};
use service_kit::readiness::{CheckKind, Observation};
use time::OffsetDateTime;

/// An event that waits longer than this for the stream fails the check.
const LONGEST_UNPUBLISHED: Duration = Duration::from_secs(5);
/// A projector that was silent for longer fails the check. It announces itself twice a second.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);
/// Repaired differences fail the check for this long, as in the alert FollowgraphSweepDifferences.
const DIFFERENCES_COUNT: time::Duration = time::Duration::hours(1);

/// PostgreSQL answers and has a schema that is new enough.
pub const POSTGRES: CheckKind = CheckKind {
    name: "postgres",
    action: "bring PostgreSQL back, or run `followgraph migrate` if the schema is too old",
};
/// PostgreSQL takes commits.
pub const COMMITS: CheckKind = CheckKind {
    name: "commits",
    action: "do as the reason says; else look for a full disk, a synchronous standby that is away, or a session that \
             holds the row of log_lock",
};
/// PostgreSQL's clock is trusted.
pub const CLOCK: CheckKind = CheckKind {
    name: "clock",
    action: "set the wrong clock right, or run `followgraph clock accept` if PostgreSQL's is right: \
             runbook FollowgraphClockDistrusted",
};
/// The stream belongs to this history.
pub const STREAM: CheckKind =
    CheckKind { name: "stream", action: "open a new epoch: runbook FollowgraphHistoryForked" };
/// NATS takes messages of the size of the largest event.
pub const MESSAGE_SIZE: CheckKind = CheckKind {
    name: "message size",
    action: "set max_payload of NATS to 1MB or more, on all of its servers, and reload it",
};
/// Events reach the stream.
const PUBLISHING: CheckKind = CheckKind {
    name: "publishing",
    action: "do as the reason says; check that NATS is up and takes messages: runbook FollowgraphOutboxOld",
};
/// At least one projector is known.
const PROJECTORS: CheckKind =
    CheckKind { name: "projectors", action: "start a projector, and check that it reaches NATS" };
/// Each projector announces itself.
const HEARTBEAT: CheckKind = CheckKind {
    name: "heartbeat",
    action: "check that the process runs and reaches NATS, then read its log",
};
/// Each projector reads the log and writes its read model.
const READ_MODEL: CheckKind = CheckKind {
    name: "read model",
    action: "ask the projector's /readyz, then read its log: runbook FollowgraphProjectionFails",
};
/// Each read model is complete.
const COMPLETE: CheckKind = CheckKind {
    name: "complete",
    action: "wait until it is built; if there is no progress, read the projector's log",
};
/// No sweep has repaired a difference in the last hour.
const DIFFERENCES: CheckKind = CheckKind {
    name: "differences",
    action: "find out what changed the read model or PostgreSQL by hand: runbook FollowgraphSweepDifferences",
};

/// Evaluates the checks of the status. `followgraph status` only prints them.
pub fn observe(stream: &StreamStatus, replicas: &[ReplicaStatus], now: OffsetDateTime) -> Vec<Observation> {
    let none =
        replicas.is_empty().then(|| "no projector has sent an announcement in the last minute".to_owned());
    let mut found = vec![PUBLISHING.observed("", unpublished(stream)), PROJECTORS.observed("", none)];
    for replica in replicas {
        let problem = Some(replica.problem.clone()).filter(|problem| !problem.is_empty());
        let unbuilt =
            (!replica.complete).then(|| format!("{:.0} % are built", replica.sweep_progress * 100.0));
        found.extend([
            HEARTBEAT.observed(&replica.name, silence(replica)),
            READ_MODEL.observed(&replica.name, problem),
            COMPLETE.observed(&replica.name, unbuilt),
            DIFFERENCES.observed(&replica.name, differences(replica, now)),
        ]);
    }
    found
}

fn unpublished(stream: &StreamStatus) -> Option<String> {
    let state = match stream.state() {
        StreamState::Ok => None,
        StreamState::Unspecified => Some("is not known"),
        StreamState::Unreachable => Some("is unreachable"),
        StreamState::Repairing => Some("is being repaired"),
        StreamState::Forked => Some("is of another history"),
        StreamState::Blocked => Some("is blocked"),
        StreamState::Standby => Some("waits until PostgreSQL takes writes"),
    };
    if let Some(state) = state {
        let problem = if stream.problem.is_empty() { String::new() } else { format!(": {}", stream.problem) };
        return Some(format!("the stream {} {state}{problem}", stream.name));
    }
    let oldest = stream.oldest_unpublished.and_then(|age| Duration::try_from(age).ok())?;
    (oldest > LONGEST_UNPUBLISHED)
        .then(|| format!("an event has waited {} s for the stream", oldest.as_secs()))
}

fn silence(replica: &ReplicaStatus) -> Option<String> {
    let age = replica.age.and_then(|age| Duration::try_from(age).ok())?;
    (age > LONGEST_SILENCE).then(|| format!("the last announcement is {} s old", age.as_secs()))
}

fn differences(replica: &ReplicaStatus, now: OffsetDateTime) -> Option<String> {
    let at = proto::timestamp::from_proto(replica.differences_at.as_ref()?).ok()?;
    let recent = replica.differences > 0 && now - at < DIFFERENCES_COUNT;
    recent.then(|| {
        let minutes = (now - at).whole_minutes().max(0);
        format!("sweeps repaired {} differences, the last {minutes} minutes ago", replica.differences)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn stream() -> StreamStatus {
        StreamStatus { name: "FOLLOWGRAPH".to_owned(), state: StreamState::Ok.into(), ..Default::default() }
    }

    fn replica() -> ReplicaStatus {
        ReplicaStatus { name: "projector-0".to_owned(), complete: true, ..Default::default() }
    }

    fn failed(stream: &StreamStatus, replicas: &[ReplicaStatus]) -> Vec<(&'static str, String)> {
        let found = observe(stream, replicas, NOW);
        found.into_iter().filter_map(|found| Some((found.kind.name, found.reason?))).collect()
    }

    #[test]
    fn a_healthy_pipeline_has_no_failed_check() {
        assert_eq!(failed(&stream(), &[replica()]), []);
    }

    #[test]
    fn publishing_fails_by_state_and_by_waiting_events() {
        let away = StreamStatus {
            state: StreamState::Unreachable.into(),
            problem: "no route".to_owned(),
            ..stream()
        };
        let reason = "the stream FOLLOWGRAPH is unreachable: no route".to_owned();
        assert_eq!(failed(&away, &[replica()]), [("publishing", reason)]);
        let standby = StreamStatus { state: StreamState::Standby.into(), ..stream() };
        let reason = "the stream FOLLOWGRAPH waits until PostgreSQL takes writes".to_owned();
        assert_eq!(failed(&standby, &[replica()]), [("publishing", reason)]);
        let waits = |seconds| StreamStatus {
            oldest_unpublished: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..stream()
        };
        assert_eq!(failed(&waits(5), &[replica()]), []);
        let reason = "an event has waited 6 s for the stream".to_owned();
        assert_eq!(failed(&waits(6), &[replica()]), [("publishing", reason)]);
    }

    #[test]
    fn a_projector_fails_by_silence_problem_and_progress() {
        assert_eq!(failed(&stream(), &[])[0].0, "projectors");
        let silent =
            ReplicaStatus { age: Some(prost_types::Duration { seconds: 12, nanos: 0 }), ..replica() };
        let reason = "the last announcement is 12 s old".to_owned();
        assert_eq!(failed(&stream(), &[silent]), [("heartbeat", reason)]);
        let building =
            ReplicaStatus { complete: false, sweep_progress: 0.37, problem: "slow".to_owned(), ..replica() };
        let wanted = [("read model", "slow".to_owned()), ("complete", "37 % are built".to_owned())];
        assert_eq!(failed(&stream(), &[building]), wanted);
    }

    #[test]
    fn repaired_differences_fail_for_an_hour() {
        let repaired = |ago: time::Duration| ReplicaStatus {
            differences: 3,
            differences_at: Some(proto::timestamp::to_proto(NOW - ago)),
            ..replica()
        };
        let reason = "sweeps repaired 3 differences, the last 59 minutes ago".to_owned();
        assert_eq!(failed(&stream(), &[repaired(time::Duration::minutes(59))]), [("differences", reason)]);
        assert_eq!(failed(&stream(), &[repaired(time::Duration::hours(1))]), []);
    }

    #[test]
    fn every_check_is_in_the_operations_guide() {
        let guide = include_str!("../../docs/operations.md");
        let evaluated = [PUBLISHING, PROJECTORS, HEARTBEAT, READ_MODEL, COMPLETE, DIFFERENCES];
        for kind in [POSTGRES, COMMITS, STREAM, MESSAGE_SIZE, CLOCK].into_iter().chain(evaluated) {
            assert!(guide.contains(&format!("| `{}`", kind.name)), "{}", kind.name);
            assert!(!kind.action.is_empty(), "{}", kind.name);
        }
    }
}
