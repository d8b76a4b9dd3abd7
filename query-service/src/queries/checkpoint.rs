//! What a read model reports about itself.

use proto::Token;
use uuid::Uuid;

/// The checkpoint of a read model, as readers need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The newest revision that readers are sure to see.
    pub visible: Token,
    /// The read model holds the whole graph.
    pub complete: bool,
}

/// A checkpoint and the database that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundCheckpoint {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The database of PostgreSQL; `None` if an older projector wrote the checkpoint.
    pub database: Option<Uuid>,
}
