//! The one writer of the read model.
//!
//! Owns: sessions. A session opens the read model, follows the feed and sweeps; whatever goes wrong ends it, and the next
//! one starts from what the checkpoint says. So there is one way back from every fault, and it is the way of every start.
//! Must not know: Cypher, SQL, NATS.
//! What can go wrong: see [`Fatal`]. Two projectors on one Neo4j do not fight: the one that started last writes, the
//! other finds out at its next change, and exits.

mod batch_limit;
mod counts;
mod lag;
mod open;
mod session;
mod sweeping;

use std::time::Duration;

use event_log::Stop;
use proto::Revision;
use service_kit::backoff::Backoff;
use service_kit::clock::{SharedClock, corrected};
use service_kit::readiness::Latch;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::feed::Sources;
use crate::graph::{self, Replica};
use crate::metrics::{COUNTS_COMPARED_AT, RETRIES};
use crate::status::Status;
use crate::truth;
use batch_limit::BatchLimit;
use lag::TruthLag;
use session::Session;

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A session that lasted so long was a success, whatever ended it.
const SOUND_SESSION: Duration = Duration::from_secs(5);

/// The cause of a failure to ask the source of truth.
const TRUTH_AWAY: &str = "postgres";
/// The cause of failures where the server holds data of somebody else.
const FOREIGN: &str = "foreign";
/// The cause of failures where the read model is empty or another's all of a sudden.
const WIPED: &str = "wiped";

/// Whether nothing is left of the read model that a session wrote.
fn is_gone(cause: &str) -> bool {
    [WIPED, FOREIGN].contains(&cause)
}

/// What waiting cannot cure.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// Another projector writes here now.
    #[error("projector {by} has taken over this read model; one Neo4j has one projector")]
    Lost {
        /// Its name.
        by: String,
    },
    /// An event that must not be skipped cannot be read.
    #[error("the projection stops before an event that this program cannot read")]
    Unreadable(#[source] Stop),
}

/// Why a session ended.
enum Failure {
    /// For good.
    Fatal(Fatal),
    /// The checkpoint is worth nothing: it must be set to the head.
    Reset { cause: &'static str, reason: String },
    /// Another session may do better.
    Retry { cause: &'static str, reason: String },
}

impl Failure {
    fn lost_commits(applied: Revision, head: Revision) -> Self {
        let reason = format!(
            "the read model is at revision {applied}, but PostgreSQL has been at {head} for minutes: it has lost commits"
        );
        Self::Retry { cause: "ahead", reason }
    }

    fn retry(cause: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self::Retry { cause, reason: format!("{:#}", error.into()) }
    }

    /// The same, with another reason not to open the read model.
    fn and(self, other: &str) -> Self {
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

/// The checks that the engine releases.
#[derive(Debug)]
pub struct Latches {
    /// The read model can be written.
    pub model: Latch,
    /// It is complete and follows.
    pub complete: Latch,
}

/// The writer and what it needs.
pub struct Engine {
    /// The read model.
    replica: Replica,
    /// Where events come from.
    sources: Sources,
    /// The checks that it releases.
    latches: Latches,
    /// The time of day.
    clock: SharedClock,
    /// Pace of the audit.
    audit_rows_per_second: u32,
    lag: TruthLag,
    /// Most changes of one transaction.
    batch_limit: BatchLimit,
}

/// What the next session must do first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// Become the writer.
    TakeOver,
    /// Go on as the writer.
    GoOn,
    /// Go on, and set the checkpoint to the head.
    Reset(&'static str),
}

impl Engine {
    /// Writes to this read model from these sources.
    pub fn new(
        replica: Replica,
        sources: Sources,
        latches: Latches,
        clock: SharedClock,
        audit_rows_per_second: u32,
    ) -> Self {
        Self {
            replica,
            sources,
            latches,
            clock,
            audit_rows_per_second,
            lag: TruthLag::default(),
            batch_limit: BatchLimit::default(),
        }
    }

    /// The time of day, by which commits are dated.
    fn now(&self) -> OffsetDateTime {
        corrected(self.clock.now(), self.sources.heard.time(Instant::now()))
    }

    /// Projects until told to stop.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Fatal> {
        // "Not compared since" begins with the process.
        metrics::gauge!(COUNTS_COMPARED_AT).set(self.now().unix_timestamp() as f64);
        let mut backoff = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        let mut opening = Opening::TakeOver;
        let mut told = None;
        loop {
            let outcome = tokio::select! {
                // Opening may be abandoned: its exchanges run to their ends by themselves.
                () = stop.cancelled() => return Ok(()),
                opened = self.open(opening) => opened,
            };
            let failure = match outcome {
                Err(failure) => failure,
                Ok(opened) => {
                    opening = Opening::GoOn;
                    let began = Instant::now();
                    let outcome = Session::new(&self, opened).run(&stop).await;
                    // One that ends at once, again and again, is no success.
                    if began.elapsed() >= SOUND_SESSION {
                        backoff.reset();
                        told = None;
                    }
                    match outcome {
                        Ok(()) => return Ok(()),
                        Err(failure) => failure,
                    }
                }
            };
            let (cause, reason) = match failure {
                Failure::Fatal(fatal) => {
                    self.trouble(&fatal.to_string());
                    return Err(fatal);
                }
                Failure::Reset { cause, reason } => {
                    // Whoever never became the writer must do that first; opening finds out again.
                    if opening == Opening::GoOn {
                        opening = Opening::Reset(cause);
                    }
                    (cause, reason)
                }
                Failure::Retry { cause, reason } => (cause, reason),
            };
            metrics::counter!(RETRIES, "cause" => cause).increment(1);
            // The same failure over and over is told once.
            if told.as_ref() == Some(&reason) {
                tracing::debug!(cause, reason, "the read model cannot be opened");
            } else {
                tracing::warn!(cause, reason, "the session with the read model ended, opening another");
            }
            told = Some(reason.clone());
            self.trouble(&reason);
            if is_gone(cause) {
                // Opening another waits for PostgreSQL, or for somebody who makes room for it.
                self.sources.board.change(Status::forget_model);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }

    fn trouble(&self, reason: &str) {
        self.latches.model.not_ready(reason);
        self.latches.complete.not_ready("the read model does not follow");
        self.sources.board.change(|status| reason.clone_into(&mut status.model_problem));
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
    fn what_is_wrong_with_both_stores_is_told() {
        let refused = graph::Error::Neo4j(neo4rs::Error::AuthenticationError("unauthorized".to_owned()));
        let (cause, reason) = retry(Failure::from(refused).and("PostgreSQL refuses: no such user"));
        assert_eq!(cause, "neo4j");
        assert!(reason.contains("NEO4J_USER") && reason.ends_with("; PostgreSQL refuses: no such user"));
        let lost = Failure::from(graph::Error::Lost { by: "projector-1".to_owned() }).and("away");
        assert!(matches!(lost, Failure::Fatal(Fatal::Lost { .. })));
    }
}
