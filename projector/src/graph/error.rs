//! Why an exchange with the read model failed.
//!
//! After an error of a changing exchange its outcome is unknown: the caller reads the checkpoint again and continues
//! from there.

use std::fmt::Display;

use proto::Revision;
use service_kit::neo4j::DetachedError;

/// Why an exchange with the read model failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neo4j returned an error or did not answer.
    #[error("the exchange with Neo4j failed")]
    Neo4j(#[from] neo4rs::Error),
    /// The exchange timed out or panicked; its outcome is unknown.
    #[error("the exchange with Neo4j has no outcome: {0}")]
    Unfinished(String),
    /// The answer does not have the statement's columns.
    #[error("Neo4j answered in an unexpected form")]
    Answer(#[from] neo4rs::DeError),
    /// The server holds data of another program. It is left untouched.
    #[error(
        "this Neo4j holds data but no checkpoint of ours; it is left untouched: check NEO4J_URI and NEO4J_DATABASE, use an \
         empty database, or remove its data"
    )]
    Foreign,
    /// The checkpoint does not exist any more.
    #[error("the checkpoint does not exist any more: the data of the read model was deleted")]
    Gone,
    /// Another projector writes to this read model now.
    #[error("projector {by} has taken over this read model")]
    Lost {
        /// `PROJECTOR_NAME` of the other one.
        by: String,
    },
    /// The checkpoint is at another revision than expected.
    #[error("the checkpoint is at revision {found}, not at {expected}")]
    Moved {
        /// Expected revision.
        expected: Revision,
        /// Revision of the checkpoint.
        found: Revision,
    },
    /// The schema could not be applied.
    #[error("the schema of the read model could not be applied")]
    Schema(#[from] migrations::Error),
    /// Neo4j still builds an index.
    #[error("{0} indexes of the read model are not online yet")]
    IndexesNotOnline(i64),
}

impl<E: Into<Self> + Display> From<DetachedError<E>> for Error {
    fn from(error: DetachedError<E>) -> Self {
        match error {
            DetachedError::Failed(error) => error.into(),
            other => Self::Unfinished(other.to_string()),
        }
    }
}

impl Error {
    /// True if the size of the transaction may be the cause: Neo4j ended it, or did not answer in time.
    pub fn may_be_size(&self) -> bool {
        matches!(self, Self::Neo4j(_) | Self::Unfinished(_)) && !self.is_conflict()
    }

    /// The setting to correct if Neo4j refuses the login or lacks the database; `None` for other errors.
    pub fn misconfigured(&self) -> Option<String> {
        match self {
            Self::Neo4j(error) | Self::Schema(migrations::Error::Neo4j(error)) => {
                service_kit::neo4j::misconfigured(error)
            }
            _ => None,
        }
    }

    /// True if the constraint on pairs refused an edge that is new in the log, but exists.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Neo4j(neo4rs::Error::Neo4j(error))
            if error.code() == "Neo.ClientError.Schema.ConstraintValidationFailed")
    }
}
