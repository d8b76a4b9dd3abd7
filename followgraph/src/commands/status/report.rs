//! What `status` tells: the parts of the pipeline and what is wrong with them.
//!
//! Owns the judgement of what is a problem, and the names of the JSON fields. It must
//! not know how the services were asked, nor how it is shown.

use std::time::Duration;

use proto::graph::v1::{Head, ReplicaStatus, StreamState};
use proto::{command::v1 as command, query::v1 as query};
use serde::Serialize;

use crate::dates;
use crate::output;

/// An event that waits longer than this for the stream is a problem.
const LONGEST_UNPUBLISHED: Duration = Duration::from_secs(5);

/// What one service answered, or why it did not.
pub struct Answer<T> {
    /// Where it was asked.
    pub addr: String,
    /// Its answer, or what went wrong in one line.
    pub status: Result<T, String>,
}

/// The state of the pipeline.
#[derive(Debug, Serialize)]
pub struct Report {
    pub(super) healthy: bool,
    pub(super) problems: Vec<String>,
    pub(super) head: Option<HeadReport>,
    pub(super) stream: Option<StreamReport>,
    pub(super) replicas: Vec<Replica>,
    pub(super) stores: Vec<Store>,
    pub(super) command_service: ServiceReport,
    pub(super) query_service: ServiceReport,
}

#[derive(Debug, Serialize)]
pub(super) struct HeadReport {
    pub(super) epoch: u64,
    pub(super) revision: u64,
    pub(super) token: String,
}

#[derive(Debug, Serialize)]
pub(super) struct StreamReport {
    pub(super) name: String,
    pub(super) state: &'static str,
    pub(super) first_revision: u64,
    pub(super) last_revision: u64,
    pub(super) leader: bool,
    pub(super) oldest_unpublished_ms: f64,
    pub(super) problem: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) revision: u64,
    pub(super) visible: u64,
    pub(super) complete: bool,
    pub(super) sweep_progress: f64,
    pub(super) differences: u64,
    pub(super) lag_revisions: u64,
    pub(super) lag_ms: Option<f64>,
    pub(super) seen_at: Option<String>,
    pub(super) problem: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Store {
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) replica: String,
    pub(super) serving: bool,
    pub(super) lagging: bool,
    pub(super) reason: String,
}

impl Store {
    /// What people call it.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.name, self.replica).trim_end().to_owned()
    }

    fn problem(&self) -> Option<String> {
        let title = self.title();
        match (self.serving, self.lagging) {
            (false, _) => Some(format!("store {title} is not serving: {}", self.reason)),
            (true, true) => Some(format!("store {title} lags, and others are asked before it")),
            (true, false) => None,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ServiceReport {
    pub(super) addr: String,
    pub(super) error: Option<String>,
    pub(super) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queued_commands: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fallback_budget: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) beacon_at: Option<String>,
}

impl Report {
    /// Puts both answers together. Of what both tell, the command-service knows more.
    pub fn new(command: Answer<command::GetStatusResponse>, query: Answer<query::GetStatusResponse>) -> Self {
        let (c, q) = (command.status.as_ref().ok(), query.status.as_ref().ok());
        let head = c.and_then(|s| s.head.as_ref()).or(q.and_then(|s| s.head.as_ref()));
        let replicas = c.map(|s| &s.replicas).or(q.map(|s| &s.replicas));
        let mut report = Self {
            healthy: false,
            problems: Vec::new(),
            head: head.map(HeadReport::from),
            stream: c.and_then(|s| s.stream.as_ref()).map(StreamReport::from),
            replicas: replicas.into_iter().flatten().map(Replica::from).collect(),
            stores: q.map(stores).unwrap_or_default(),
            command_service: ServiceReport {
                queued_commands: c.map(|s| s.queued_commands),
                ..ServiceReport::new(&command, c.map(|s| s.version.clone()))
            },
            query_service: ServiceReport {
                fallback_budget: q.map(|s| s.fallback_budget),
                beacon_at: q.and_then(|s| s.beacon_at.as_ref()).and_then(dates::format_proto),
                ..ServiceReport::new(&query, q.map(|s| s.version.clone()))
            },
        };
        report.problems = report.find_problems();
        report.healthy = report.problems.is_empty();
        report
    }

    /// Nothing is wrong.
    pub fn healthy(&self) -> bool {
        self.healthy
    }

    fn find_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for service in [&self.command_service, &self.query_service] {
            problems.extend(service.error.clone());
        }
        if let Some(stream) = &self.stream {
            problems.extend(stream.problems());
        }
        if self.query_service.error.is_none() && self.query_service.beacon_at.is_none() {
            problems.push("the query-service hears no beacon of a command-service".to_owned());
        }
        let answered = self.command_service.error.is_none() || self.query_service.error.is_none();
        if answered && self.replicas.is_empty() {
            problems.push("no projector was heard of in the last minute".to_owned());
        }
        problems.extend(self.replicas.iter().flat_map(Replica::problems));
        problems.extend(self.stores.iter().filter_map(Store::problem));
        problems
    }
}

impl From<&Head> for HeadReport {
    fn from(head: &Head) -> Self {
        Self { epoch: head.epoch, revision: head.revision, token: head.token.clone() }
    }
}

impl From<&proto::graph::v1::StreamStatus> for StreamReport {
    fn from(stream: &proto::graph::v1::StreamStatus) -> Self {
        Self {
            name: stream.name.clone(),
            state: match stream.state() {
                StreamState::Unspecified => "unknown",
                StreamState::Ok => "ok",
                StreamState::Unreachable => "unreachable",
                StreamState::Repairing => "repairing",
                StreamState::Forked => "forked",
                StreamState::Blocked => "blocked",
                StreamState::Standby => "standby",
            },
            first_revision: stream.first_revision,
            last_revision: stream.last_revision,
            leader: stream.leader,
            oldest_unpublished_ms: duration(stream.oldest_unpublished.as_ref())
                .map_or(0.0, output::elapsed_ms),
            problem: stream.problem.clone(),
        }
    }
}

impl StreamReport {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.state != "ok" || !self.problem.is_empty() {
            let words = if self.problem.is_empty() { self.state } else { &self.problem };
            problems.push(format!("stream {}: {words}", self.name));
        }
        if self.oldest_unpublished_ms > output::elapsed_ms(LONGEST_UNPUBLISHED) {
            problems.push(format!(
                "stream {}: an event waits for {:.0} s to be published",
                self.name,
                self.oldest_unpublished_ms / 1_000.0
            ));
        }
        problems
    }
}

impl From<&ReplicaStatus> for Replica {
    fn from(replica: &ReplicaStatus) -> Self {
        Self {
            name: replica.name.clone(),
            revision: replica.revision,
            visible: replica.visible,
            complete: replica.complete,
            sweep_progress: replica.sweep_progress,
            differences: replica.differences,
            lag_revisions: replica.lag_revisions,
            lag_ms: duration(replica.lag.as_ref()).map(output::elapsed_ms),
            seen_at: replica.seen_at.as_ref().and_then(dates::format_proto),
            problem: replica.problem.clone(),
        }
    }
}

impl Replica {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.problem.is_empty() {
            problems.push(format!("replica {}: {}", self.name, self.problem));
        }
        if !self.complete {
            problems.push(format!(
                "replica {} is being built ({}), and does not serve yet",
                self.name,
                percent(self.sweep_progress)
            ));
        }
        if self.differences > 0 {
            problems.push(format!(
                "replica {}: sweeps have repaired {} differences",
                self.name, self.differences
            ));
        }
        problems
    }
}

impl ServiceReport {
    fn new<T>(answer: &Answer<T>, version: Option<String>) -> Self {
        Self {
            addr: answer.addr.clone(),
            error: answer.status.as_ref().err().cloned(),
            version,
            queued_commands: None,
            fallback_budget: None,
            beacon_at: None,
        }
    }
}

fn stores(status: &query::GetStatusResponse) -> Vec<Store> {
    let stores = status.stores.iter().map(|store| Store {
        name: store.name.clone(),
        replica: store.replica.clone(),
        serving: store.serving,
        lagging: store.lagging,
        reason: store.reason.clone(),
    });
    stores.collect()
}

fn duration(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    Duration::try_from(*duration?).ok()
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn command() -> command::GetStatusResponse {
        command::GetStatusResponse {
            head: Some(Head { epoch: 1, revision: 901, event_id: String::new(), token: "t".to_owned() }),
            stream: Some(proto::graph::v1::StreamStatus {
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
            database_id: String::new(),
        }
    }

    pub fn query() -> query::GetStatusResponse {
        query::GetStatusResponse {
            beacon_at: Some(prost_types::Timestamp::default()),
            version: "0.1.0".to_owned(),
            ..Default::default()
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
    fn a_fork_is_a_problem() {
        let mut status = command();
        let stream = status.stream.as_mut().unwrap();
        stream.state = StreamState::Forked.into();
        stream.problem = "revision 7 is another event".to_owned();
        assert_eq!(
            report(Ok(status), Ok(query())).problems,
            ["stream FOLLOWGRAPH: revision 7 is another event"]
        );
    }

    #[test]
    fn a_read_model_that_is_not_ready_is_a_problem() {
        let mut status = command();
        status.replicas[0].complete = false;
        status.replicas[0].sweep_progress = 0.37;
        assert_eq!(
            report(Ok(status), Ok(query())).problems,
            ["replica projector-0 is being built (37 %), and does not serve yet"]
        );
        let mut status = command();
        status.replicas.clear();
        let problems = report(Ok(status), Ok(query())).problems;
        assert_eq!(problems, ["no projector was heard of in the last minute"]);
    }

    #[test]
    fn a_replica_that_is_lost_or_lags_is_a_problem_by_its_name() {
        let store = |name: &str, replica: &str, reason: &str, lagging| proto::graph::v1::StoreStatus {
            name: name.to_owned(),
            replica: replica.to_owned(),
            serving: reason.is_empty(),
            reason: reason.to_owned(),
            lagging,
            ..Default::default()
        };
        let mut status = query();
        status.stores = vec![
            store("neo4j", "projector-0", "does not answer probes", false),
            store("neo4j", "projector-1", "", true),
            store("postgres", "", "", false),
        ];
        assert_eq!(
            report(Ok(command()), Ok(status)).problems,
            [
                "store neo4j projector-0 is not serving: does not answer probes",
                "store neo4j projector-1 lags, and others are asked before it",
            ]
        );
    }

    #[test]
    fn what_one_service_knows_is_shown_without_the_other() {
        let report = report(Err("cannot reach it".to_owned()), Ok(query()));
        assert_eq!(report.problems[0], "cannot reach it");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["command_service"]["error"], "cannot reach it");
        assert_eq!(json["query_service"]["version"], "0.1.0");
        assert_eq!(json["healthy"], false);
    }
}
