//! Why a session with the read model ends.

use event_log::Stop;
use proto::Revision;

use crate::{graph, truth};

/// Cause: PostgreSQL cannot be read.
pub(super) const TRUTH_AWAY: &str = "postgres";
/// Cause: the server holds data of another program.
const FOREIGN: &str = "foreign";
/// Cause: the read model was emptied, or replaced by data of another program.
const WIPED: &str = "wiped";

/// True if the cause says that the read model of the last session no longer exists.
pub(super) fn is_gone(cause: &str) -> bool {
    [WIPED, FOREIGN].contains(&cause)
}

/// Failures that another session cannot repair.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// Another projector writes to this read model.
    #[error("projector {by} has taken over this read model; one Neo4j has one projector")]
    Lost {
        /// Its name.
        by: String,
    },
    /// An event that must not be skipped cannot be read.
    #[error("the projection stops before an event that this program cannot read")]
    Unreadable(#[source] Stop),
}

/// Why a session ended. The causes are labels of a metric, the reasons are for people.
pub(super) enum Failure {
    /// The process must end.
    Fatal(Fatal),
    /// The checkpoint is not part of the history: the next session sets it to the head.
    Reset { cause: &'static str, reason: String },
    /// Another session may succeed.
    Retry { cause: &'static str, reason: String },
}

impl Failure {
    pub(super) fn lost_commits(applied: Revision, head: Revision) -> Self {
        let reason = format!(
            "the read model is at revision {applied}, but PostgreSQL has been at {head} for minutes: it has lost commits"
        );
        Self::Retry { cause: "ahead", reason }
    }

    pub(super) fn retry(cause: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self::Retry { cause, reason: format!("{:#}", error.into()) }
    }

    /// Adds a second reason, if the failure may be retried.
    pub(super) fn and(self, other: &str) -> Self {
        match self {
            Self::Retry { cause, reason } => Self::Retry { cause, reason: format!("{reason}; {other}") },
            failure => failure,
        }
    }
}

impl From<graph::Error> for Failure {
    fn from(error: graph::Error) -> Self {
        if let Some(problem) = error.misconfigured() {
            return Self::Retry { cause: "neo4j", reason: format!("Neo4j cannot be used: {problem}") };
        }
        match error {
            graph::Error::Lost { by } => Self::Fatal(Fatal::Lost { by }),
            graph::Error::Foreign => Self::retry(FOREIGN, error),
            graph::Error::Gone => Self::retry(WIPED, error),
            graph::Error::Moved { .. } => Self::retry("moved", error),
            other => Self::retry("neo4j", other),
        }
    }
}

impl From<truth::Error> for Failure {
    fn from(error: truth::Error) -> Self {
        Self::Retry { cause: TRUTH_AWAY, reason: error.problem() }
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        let cause = match &stop {
            Stop::Pruned(_) => "pruned",
            Stop::Contradicted(_) => "contradicted",
            Stop::OtherEpoch => "epoch",
            Stop::Unreadable { .. } => return Self::Fatal(Fatal::Unreadable(stop)),
            Stop::Died => return Self::retry("feed", stop),
        };
        Self::Reset { cause, reason: stop.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(failure: Failure) -> (&'static str, String) {
        match failure {
            Failure::Retry { cause, reason } => (cause, reason),
            Failure::Reset { cause, .. } => panic!("reset: {cause}"),
            Failure::Fatal(fatal) => panic!("the process would end: {fatal}"),
        }
    }

    #[test]
    fn data_of_others_is_waited_for_and_names_the_settings() {
        let (cause, reason) = retry(graph::Error::Foreign.into());
        assert!(is_gone(cause), "{cause}");
        assert!(reason.contains("NEO4J_URI") && reason.contains("NEO4J_DATABASE"), "{reason}");
    }

    #[test]
    fn a_login_that_neo4j_refuses_names_the_settings() {
        let refused = || neo4rs::Error::AuthenticationError("unauthorized: hunter2".to_owned());
        for error in [graph::Error::Neo4j(refused()), graph::Error::Schema(refused().into())] {
            let (cause, reason) = retry(error.into());
            assert_eq!(cause, "neo4j");
            assert!(reason.contains("NEO4J_PASSWORD") && !reason.contains("hunter"), "{reason}");
        }
        let (cause, reason) = retry(graph::Error::Neo4j(neo4rs::Error::ConnectionError).into());
        assert_eq!(cause, "neo4j");
        assert!(reason.contains("connection error"), "{reason}");
    }

    #[test]
    fn the_reasons_of_both_stores_are_joined() {
        let refused = graph::Error::Neo4j(neo4rs::Error::AuthenticationError("unauthorized".to_owned()));
        let (cause, reason) = retry(Failure::from(refused).and("PostgreSQL refuses: no such user"));
        assert_eq!(cause, "neo4j");
        assert!(reason.contains("NEO4J_USER") && reason.ends_with("; PostgreSQL refuses: no such user"));
        let lost = Failure::from(graph::Error::Lost { by: "projector-1".to_owned() }).and("away");
        assert!(matches!(lost, Failure::Fatal(Fatal::Lost { .. })));
    }
}
