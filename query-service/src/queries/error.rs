//! Why a store gave no answer.
//!
//! A read model without a checkpoint, or one that is not complete, is an error and never an empty answer: otherwise an
//! account with followers would seem to have none.

use std::sync::Arc;

use super::Statement;

/// Why a store gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no checkpoint: nothing was projected here, or the data is lost.
    #[error("the read model has no checkpoint")]
    NotBuilt,
    /// The read model does not hold the whole graph yet.
    #[error("the read model is not complete")]
    NotComplete,
    /// The answer lies between two revisions, and recent events do not tell what it is at any.
    #[error("the answer cannot be brought to one revision")]
    NotExact,
    /// The answer did not come in time.
    #[error("the store did not answer in time")]
    TimedOut,
    /// Too many reads of this process wait for the store; this one was not sent.
    #[error("too many reads wait for the store")]
    Busy,
    /// The store is stalled: while a read waited for its place, no other read ended.
    #[error("the store is stalled: no read ended while this one waited")]
    Stalled,
    /// The schema is not known to be ours yet.
    #[error("the schema was not checked yet")]
    Unchecked,
    /// The settings lead to a server that cannot be used: why, and what to do.
    #[error("{0}")]
    Misconfigured(String),
    /// The store refused, broke off or answered nonsense.
    #[error("the store returned an error")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// One of the above, of a statement that other questions share.
    #[error("the shared statement failed")]
    Shared {
        /// What happened.
        #[source]
        error: Box<Self>,
        /// The statement.
        statement: Statement,
    },
}

impl Error {
    /// Wraps a driver's error.
    pub fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(source.into().into())
    }

    /// What happened, and to which statement if others share it.
    pub fn unshared(self) -> (Self, Option<Statement>) {
        match self {
            Self::Shared { error, statement } => (*error, Some(statement)),
            error => (error, None),
        }
    }
}
