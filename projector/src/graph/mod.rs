//! Writes to the read model.
//!
//! Owns: the Cypher of this crate, the guard that makes every change exactly once and by one writer alone, and the
//! sizes of messages. Must not know: the stream, PostgreSQL, when to do what.
//! What can go wrong: see [`Error`]. After any error of a changing exchange its outcome is unknown; the caller reads the
//! checkpoint again and goes on from there.
//!
//! An account's node is deleted when the erasing of the account ends, and by the sweep's walk when it has no edges: ids
//! must not stay for longer than the edges that name them.

mod checkpoint;
mod cypher;
mod degrees;
mod message;
mod range;
mod walk;
mod write;

use std::future::Future;
use std::time::Duration;

use neo4rs::{Graph, Query, Row, Txn};
use proto::Revision;
use service_kit::neo4j::{DetachedError, run_detached};
use uuid::Uuid;

pub use checkpoint::{Checkpoint, Content, Cursor};
pub use degrees::Degrees;
pub use message::{Changes, PutRow};
pub use range::{EdgeRange, Found};
pub use walk::{Misplaced, Walked};

/// Longest wait for one exchange. The driver's own limit is for each message; a batch has many.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// The read model, written by this projector.
#[derive(Clone)]
pub struct Replica {
    graph: Graph,
    owner: Uuid,
    name: String,
}

impl Replica {
    /// The read model behind `graph`. `owner` is random and names this process: a counter would repeat after a restore.
    pub fn new(graph: Graph, owner: Uuid, name: &str) -> Self {
        Self { graph, owner, name: name.to_owned() }
    }

    /// Runs statements in one transaction, in a task of its own. The transaction is committed if `body` succeeds, and
    /// rolled back at once if not: a transaction that is only dropped keeps its locks.
    async fn transaction<T, F>(&self, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: AsyncBody<T>,
    {
        let graph = self.graph.clone();
        let outcome = run_detached(PATIENCE, async move {
            let mut tx = graph.start_txn().await?;
            match body.run(&mut tx).await {
                Ok(value) => {
                    tx.commit().await?;
                    Ok(value)
                }
                Err(error) => {
                    // The first error tells more; a failed rollback closes the connection, which rolls back too.
                    let _ = tx.rollback().await;
                    Err(error)
                }
            }
        });
        outcome.await.map_err(|error| match error {
            DetachedError::Failed(error) => error,
            other => Error::Unfinished(other.to_string()),
        })
    }
}

/// Statements to run in a transaction. A trait of its own, because the future borrows the transaction and must be
/// sendable.
trait AsyncBody<T>: Send + 'static {
    fn run(self, tx: &mut Txn) -> impl Future<Output = Result<T, Error>> + Send;
}

/// Runs a statement and answers its only row, if there is one.
async fn one_row(tx: &mut Txn, query: Query) -> Result<Option<Row>, Error> {
    let mut rows = tx.execute(query).await?;
    let first = rows.next(&mut *tx).await?;
    while rows.next(&mut *tx).await?.is_some() {}
    Ok(first)
}
