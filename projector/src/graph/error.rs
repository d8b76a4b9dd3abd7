//! Why an exchange with the read model failed.
//!
//! After an error of a changing exchange its outcome is unknown: the caller reads the checkpoint again and continues
//! from there.

use proto::Revision;

/// Why an exchange with the read model failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused or did not answer.
    #[error("the exchange with Neo4j failed")]
    Neo4j(#[from] neo4rs::Error),
    /// The answer took too long, or the exchange died; its outcome is unknown.
    #[error("the exchange with Neo4j has no outcome: {0}")]
    Unfinished(String),
    /// The answer is not what the statement asks for.
    #[error("Neo4j answered in an unexpected form")]
    Answer(#[from] neo4rs::DeError),
    /// The server holds data that is not ours. It is left untouched.
    #[error(
        "this Neo4j holds data but no checkpoint of ours; it is left untouched: check NEO4J_URI and NEO4J_DATABASE, use an \
         empty database, or remove its data"
    )]
    Foreign,
    /// There is no checkpoint any more.
    #[error("the checkpoint is gone: the read model was wiped")]
    Gone,
    /// Another projector writes to this read model now.
    #[error("projector {by} has taken over this read model")]
    Lost {
        /// Its name.
        by: String,
    },
    /// The checkpoint stands elsewhere than expected.
    #[error("the checkpoint stands at revision {found}, not at {expected}")]
    Moved {
        /// Where it was expected.
        expected: Revision,
        /// Where it stands.
        found: Revision,
    },
    /// The schema could not be applied.
    #[error("the schema of the read model could not be applied")]
    Schema(#[from] migrations::Error),
    /// An index is not usable yet.
    #[error("{0} indexes of the read model are not online yet")]
    IndexesNotOnline(i64),
}

impl Error {
    /// True if the server may have failed at the size of a transaction: it ended it, or did not answer in time.
    pub fn may_be_size(&self) -> bool {
        matches!(self, Self::Neo4j(_) | Self::Unfinished(_)) && !self.is_conflict()
    }

    /// What an operator has to change where Neo4j does not let us in; none if the error says something else.
    pub fn misconfigured(&self) -> Option<String> {
        match self {
            Self::Neo4j(error) | Self::Schema(migrations::Error::Neo4j(error)) => {
                service_kit::neo4j::misconfigured(error)
            }
            _ => None,
        }
    }

    /// True if the constraint on pairs refused an edge: it exists although it was said to be new.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Neo4j(neo4rs::Error::Neo4j(error))
            if error.code() == "Neo.ClientError.Schema.ConstraintValidationFailed")
    }
}
