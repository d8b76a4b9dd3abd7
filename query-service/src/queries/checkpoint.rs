//! The checkpoint of a read model.

use proto::Token;
use uuid::Uuid;

/// The parts of a checkpoint that readers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The newest revision whose changes are all visible.
    pub visible: Token,
    /// True once the read model contains the whole graph.
    pub complete: bool,
}

/// A checkpoint and the id of its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundCheckpoint {
    pub checkpoint: Checkpoint,
    /// Id of the PostgreSQL database; `None` if an older projector wrote the checkpoint.
    pub database: Option<Uuid>,
}
