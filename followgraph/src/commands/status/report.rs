//! What `status` shows: the parts of the pipeline and the checks of both services.
//!
//! The services decide what is a problem: a failed check. A service that does not answer is one, too.

use proto::graph::v1::{CheckState, Head, ReplicaStatus, StoreStatus, StreamState, StreamStatus};
use proto::{command::v1 as command, query::v1 as query};
use serde::Serialize;

use crate::dates::format_proto;
use crate::output::{self, json_row};

const COMMAND: &str = "command-service";
const QUERY: &str = "query-service";

pub struct Answer<T> {
    pub addr: String,
    /// Its state, or the failure in one line.
    pub status: Result<T, String>,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub(super) healthy: bool,
    pub(super) problems: Vec<String>,
    pub(super) checks: Vec<Check>,
    pub(super) head: Option<HeadReport>,
    pub(super) stream: Option<StreamReport>,
    pub(super) replicas: Vec<Replica>,
    pub(super) stores: Vec<Store>,
    pub(super) command_service: ServiceReport,
    pub(super) query_service: ServiceReport,
}

json_row! {
    pub(super) struct Check from service: &'static str, check: &proto::graph::v1::Check {
        service: &'static str = service,
        #[serde(flatten)]
        row: CheckRow = CheckRow::new(check),
    }
}

json_row! {
    pub(super) struct CheckRow from check: &proto::graph::v1::Check {
        name: String = check.name.clone(),
        #[serde(skip_serializing_if = "String::is_empty")]
        subject: String = check.subject.clone(),
        state: &'static str = match check.state() {
            CheckState::Unspecified => "unknown",
            CheckState::Ok => "ok",
            CheckState::Failed => "failed",
        },
        required: bool = check.required,
        reason: String = check.reason.clone(),
        since: Option<String> = format_proto(check.since),
        action: String = check.action.clone(),
    }
}

impl Check {
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.row.name, self.row.subject).trim_end().to_owned()
    }

    pub(super) fn passes(&self) -> bool {
        self.row.state == "ok"
    }

    fn problem(&self) -> Option<String> {
        (!self.passes()).then(|| format!("{}: {}: {}", self.service, self.title(), self.row.reason))
    }
}

json_row! {
    pub(super) struct HeadReport from head: &Head {
        epoch: u64 = head.epoch,
        revision: u64 = head.revision,
        token: String = head.token.clone(),
    }
}

json_row! {
    pub(super) struct StreamReport from stream: &StreamStatus {
        name: String = stream.name.clone(),
        state: &'static str = match stream.state() {
            StreamState::Unspecified => "unknown",
            StreamState::Ok => "ok",
            StreamState::Unreachable => "unreachable",
            StreamState::Repairing => "repairing",
            StreamState::Forked => "forked",
            StreamState::Blocked => "blocked",
            StreamState::Standby => "standby",
        },
        first_revision: u64 = stream.first_revision,
        last_revision: u64 = stream.last_revision,
        leader: bool = stream.leader,
        oldest_unpublished_ms: f64 = output::proto_ms(stream.oldest_unpublished).unwrap_or_default(),
        problem: String = stream.problem.clone(),
    }
}

json_row! {
    pub(super) struct Replica from replica: &ReplicaStatus {
        name: String = replica.name.clone(),
        revision: u64 = replica.revision,
        visible: u64 = replica.visible,
        complete: bool = replica.complete,
        sweep_progress: f64 = replica.sweep_progress,
        differences: u64 = replica.differences,
        lag_revisions: u64 = replica.lag_revisions,
        lag_ms: Option<f64> = output::proto_ms(replica.lag),
        seen_at: Option<String> = format_proto(replica.seen_at),
        problem: String = replica.problem.clone(),
    }
}

json_row! {
    pub(super) struct Store from store: &StoreStatus {
        name: String = store.name.clone(),
        #[serde(skip_serializing_if = "String::is_empty")]
        replica: String = store.replica.clone(),
        serving: bool = store.serving,
        lagging: bool = store.lagging,
        reason: String = store.reason.clone(),
    }
}

#[derive(Debug, Default, Serialize)]
pub(super) struct ServiceReport {
    pub(super) addr: String,
    pub(super) error: Option<String>,
    pub(super) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queued_commands: Option<u32>,
    /// `None` while PostgreSQL does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) running_jobs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fallback_budget: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) beacon_at: Option<String>,
}

impl Report {
    /// Combines both answers. For what both contain, command-service is preferred: it knows more.
    pub fn new(command: Answer<command::GetStatusResponse>, query: Answer<query::GetStatusResponse>) -> Self {
        let (c, q) = (command.status.as_ref().ok(), query.status.as_ref().ok());
        let head = c.and_then(|s| s.head.as_ref()).or(q.and_then(|s| s.head.as_ref()));
        let replicas = c.map(|s| &s.replicas).or(q.map(|s| &s.replicas));
        let of_command = c.into_iter().flat_map(|s| &s.checks).map(|check| Check::new(COMMAND, check));
        let of_query = q.into_iter().flat_map(|s| &s.checks).map(|check| Check::new(QUERY, check));
        let mut report = Self {
            healthy: false,
            problems: Vec::new(),
            checks: of_command.chain(of_query).collect(),
            head: head.map(HeadReport::new),
            stream: c.and_then(|s| s.stream.as_ref()).map(StreamReport::new),
            replicas: replicas.into_iter().flatten().map(Replica::new).collect(),
            stores: q.into_iter().flat_map(|s| &s.stores).map(Store::new).collect(),
            command_service: ServiceReport {
                queued_commands: c.map(|s| s.queued_commands),
                running_jobs: c.filter(|s| s.head.is_some()).map(|s| s.running_jobs),
                ..ServiceReport::new(&command, c.map(|s| s.version.clone()))
            },
            query_service: ServiceReport {
                fallback_budget: q.map(|s| s.fallback_budget),
                beacon_at: q.and_then(|s| format_proto(s.beacon_at)),
                ..ServiceReport::new(&query, q.map(|s| s.version.clone()))
            },
        };
        report.problems = report.find_problems();
        report.healthy = report.problems.is_empty();
        report
    }

    fn find_problems(&self) -> Vec<String> {
        let services = [(COMMAND, &self.command_service), (QUERY, &self.query_service)];
        let mut problems = Vec::new();
        for (name, service) in services {
            problems.extend(service.error.clone());
            let checked = self.checks.iter().any(|check| check.service == name);
            if service.error.is_none() && !checked {
                let version = service.version.as_deref().unwrap_or_default();
                problems.push(format!("{name} of version {version} has no checks: upgrade it"));
            }
        }
        problems.extend(self.checks.iter().filter_map(Check::problem));
        problems
    }
}

impl ServiceReport {
    fn new<T>(answer: &Answer<T>, version: Option<String>) -> Self {
        Self {
            addr: answer.addr.clone(),
            error: answer.status.as_ref().err().cloned(),
            version,
            ..Self::default()
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn command() -> command::GetStatusResponse {
        command::GetStatusResponse {
            head: Some(Head { epoch: 1, revision: 901, event_id: String::new(), token: "t".to_owned() }),
            stream: Some(StreamStatus {
                name: "FOLLOWGRAPH".to_owned(),
                state: StreamState::Ok.into(),
                first_revision: 1,
                last_revision: 901,
                leader: true,
                ..Default::default()
            }),
            replicas: vec![ReplicaStatus {
                name: "projector-0".to_owned(),
                visible: 901,
                complete: true,
                ..Default::default()
            }],
            version: "0.1.0".to_owned(),
            queued_commands: 0,
            running_jobs: 0,
            database_id: String::new(),
            checks: vec![check("postgres", "", "")],
        }
    }

    pub fn query() -> query::GetStatusResponse {
        query::GetStatusResponse {
            beacon_at: Some(prost_types::Timestamp::default()),
            version: "0.1.0".to_owned(),
            checks: vec![check("stores", "", "")],
            ..Default::default()
        }
    }

    pub fn check(name: &str, subject: &str, reason: &str) -> proto::graph::v1::Check {
        let state = if reason.is_empty() { CheckState::Ok } else { CheckState::Failed };
        proto::graph::v1::Check {
            name: name.to_owned(),
            subject: subject.to_owned(),
            state: state.into(),
            reason: reason.to_owned(),
            since: Some(prost_types::Timestamp { seconds: 1_341_100_972, nanos: 0 }),
            action: "look at it".to_owned(),
            required: false,
        }
    }

    pub fn report(
        command: Result<command::GetStatusResponse, String>,
        query: Result<query::GetStatusResponse, String>,
    ) -> Report {
        let answer_at = |addr: &str| addr.to_owned();
        Report::new(
            Answer { addr: answer_at("c:1"), status: command },
            Answer { addr: answer_at("q:2"), status: query },
        )
    }

    #[test]
    fn failed_checks_are_the_only_problems() {
        let mut status = command();
        // Only the service decides whether a state is a problem.
        status.stream.as_mut().unwrap().state = StreamState::Forked.into();
        status.replicas[0].complete = false;
        assert!(report(Ok(status.clone()), Ok(query())).healthy);
        status.checks.push(check("complete", "projector-0", "37 % are built"));
        let report = report(Ok(status), Ok(query()));
        assert_eq!(report.problems, ["command-service: complete projector-0: 37 % are built"]);
        let json = serde_json::to_value(&report.checks[1]).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "service": "command-service",
                "name": "complete",
                "subject": "projector-0",
                "state": "failed",
                "required": false,
                "reason": "37 % are built",
                "since": "2012-07-01T00:02:52Z",
                "action": "look at it",
            })
        );
    }

    #[test]
    fn a_service_without_checks_is_a_problem() {
        let mut status = query();
        status.checks.clear();
        let problems = report(Ok(command()), Ok(status)).problems;
        assert_eq!(problems, ["query-service of version 0.1.0 has no checks: upgrade it"]);
    }

    #[test]
    fn running_jobs_are_unknown_without_postgresql() {
        let mut status = command::GetStatusResponse { running_jobs: 3, ..command() };
        let shown = |status: &command::GetStatusResponse| {
            let report = report(Ok(status.clone()), Ok(query()));
            serde_json::to_value(&report).unwrap()["command_service"]["running_jobs"].clone()
        };
        assert_eq!(shown(&status), 3);
        status.head = None;
        assert!(shown(&status).is_null());
    }

    #[test]
    fn one_service_is_shown_without_the_other() {
        let report = report(Err("cannot reach it".to_owned()), Ok(query()));
        assert_eq!(report.problems[0], "cannot reach it");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["command_service"]["error"], "cannot reach it");
        assert_eq!(json["query_service"]["version"], "0.1.0");
        assert_eq!(json["healthy"], false);
    }
}
