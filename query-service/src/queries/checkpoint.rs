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

/// The generation of a read model's repairs. What was loaded in one generation may be wrong in the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(i64);

impl Generation {
    /// `None` for a negative number, which no projector writes.
    pub fn new(number: i64) -> Option<Self> {
        (number >= 0).then_some(Self(number))
    }

    /// The generation of a whole: that of its parts, if it is the same.
    pub fn common(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.filter(|one| Some(*one) == other)
    }

    pub fn number(self) -> i64 {
        self.0
    }
}

/// A checkpoint and the id of its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundCheckpoint {
    pub checkpoint: Checkpoint,
    /// Id of the PostgreSQL database; `None` if an older projector wrote the checkpoint.
    pub database: Option<Uuid>,
    /// The generation of repairs; `None` if the projector does not maintain it.
    pub generation: Option<Generation>,
}
