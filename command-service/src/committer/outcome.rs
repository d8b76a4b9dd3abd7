//! How a command ended.

use proto::graph::v1::Relationship;

use crate::domain::{Answer, Refused};

/// The answer to a command, or why it failed.
pub type Outcome = Result<Answer, Failure>;

/// Why a command failed. All but [`Failure::OutcomeUnknown`] mean that nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A rule refuses it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The precondition on the pair failed: the refusal, and the committed state of the pair.
    #[error("{0}")]
    NotAsExpected(Refused, Box<Relationship>),
    /// Another command of the actor had the same request_id.
    #[error("the request_id was used for another command")]
    RequestIdReused,
    /// The database was not reachable for as long as the command was retried.
    #[error("the command was not executed: the database does not answer")]
    NotCommitted,
    /// PostgreSQL has lost commits that were published.
    #[error("PostgreSQL has lost commits that were published: an operator must open a new epoch")]
    Forked,
    /// The connection failed during COMMIT, and the outcome could not be looked up in time.
    #[error(
        "the outcome of the command is not known: the connection to the database failed during the commit"
    )]
    OutcomeUnknown,
    /// The transaction of this command alone exceeds a timeout of PostgreSQL, or that of all work under the lock.
    #[error("the command was not executed: its transaction takes longer than a timeout allows")]
    TimedOut,
    /// A bug in this service.
    #[error("the command was not executed because of an internal error")]
    Internal,
}
