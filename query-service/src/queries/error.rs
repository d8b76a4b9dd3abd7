//! Errors of stores.
//!
//! A read model without a checkpoint, or an incomplete one, is an error and never an empty answer: otherwise an account
//! with followers would seem to have none.

use std::sync::Arc;

use super::Statement;

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no checkpoint: nothing has been projected, or the data is lost.
    #[error("the read model has no checkpoint")]
    NotBuilt,
    /// The read model does not contain the whole graph yet.
    #[error("the read model is not complete")]
    NotComplete,
    /// The answer lies between two revisions, and recent events cannot correct it.
    #[error("the answer cannot be brought to one revision")]
    NotExact,
    /// The answer did not arrive in time.
    #[error("the store did not answer in time")]
    TimedOut,
    /// Too many reads of this process wait for the store; this one was not sent.
    #[error("too many reads wait for the store")]
    Busy,
    /// The store is stalled: while a read waited for its place, no other read ended.
    #[error("the store is stalled: no read ended while this one waited")]
    Stalled,
    /// The schema has not been verified yet.
    #[error("the schema was not checked yet")]
    Unchecked,
    /// The settings lead to an unusable server: why, and what to do.
    #[error("{0}")]
    Misconfigured(String),
    /// The store returned an error, broke the connection, or sent an invalid answer.
    #[error("the store returned an error")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// One of the above, from a statement that several questions share.
    #[error("the shared statement failed")]
    Shared {
        #[source]
        error: Box<Self>,
        statement: Statement,
    },
}

impl Error {
    /// Wraps a driver's error.
    pub fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(source.into().into())
    }

    /// The error itself, and its statement if others share it.
    pub fn unshared(self) -> (Self, Option<Statement>) {
        match self {
            Self::Shared { error, statement } => (*error, Some(statement)),
            error => (error, None),
        }
    }
}
