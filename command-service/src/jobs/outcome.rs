//! Results of one step of a job.

use proto::Token;

use crate::domain::JobKind;
use crate::store::{is_timeout, is_transient};

/// Result of a step.
pub enum Outcome {
    /// The job has ended, or another worker has continued it, since it was found.
    Nothing,
    /// The step is committed.
    Stepped {
        /// Name of the job's kind.
        kind: &'static str,
        /// Number of processed edges.
        edges: u64,
        /// How the job ended, if it did: the metric's label. Callers see `overtaken` as failed.
        ended: Option<&'static str>,
        /// The head after the step, if it made an event.
        head: Option<Token>,
    },
}

/// A failed step.
#[derive(Debug)]
pub struct Failed {
    /// Kind of the job.
    pub kind: JobKind,
    /// Error of the statement.
    pub error: sqlx::Error,
    waited_for_lock: bool,
}

impl Failed {
    /// A statement of the step failed.
    pub fn in_step(kind: JobKind, error: sqlx::Error) -> Self {
        Self { kind, error, waited_for_lock: false }
    }

    /// The step did not get the lock on the head.
    pub fn in_lock(kind: JobKind, error: sqlx::Error) -> Self {
        Self { kind, error, waited_for_lock: true }
    }

    /// Whether the failure counts as an attempt of the job. An outage of the database, or a lock on the head that
    /// others hold, does not.
    pub fn counts(&self) -> bool {
        !self.waited_for_lock && (is_timeout(&self.error) || !is_transient(&self.error))
    }

    /// Label of the metric.
    pub fn cause(&self) -> &'static str {
        match &self.error {
            _ if self.waited_for_lock => "head_lock",
            error if is_timeout(error) => "timeout",
            error if is_transient(error) => "database_away",
            _ => "error",
        }
    }
}
