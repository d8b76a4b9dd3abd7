//! Edges and decided changes of them.

use proto::event::EdgeKey;
use proto::{Position, Revision};
use time::OffsetDateTime;

/// An edge's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// When it came to be.
    pub created_at: OffsetDateTime,
    /// When it runs out.
    pub expires_at: Option<OffsetDateTime>,
    /// Its place in lists.
    pub position: Position,
    /// The revision of its last change.
    pub revision: Revision,
}

/// A decided change of one edge, before it has a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The edge.
    pub key: EdgeKey,
    /// What happens to it.
    pub op: Op,
}

/// What happens to an edge. Those that end in "archived" touch the archive alone:
/// nobody sees them, and no event tells of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// It comes to be.
    Add {
        /// Its date; the time of the commit when absent.
        created_at: Option<OffsetDateTime>,
        /// When it runs out.
        expires_at: Option<OffsetDateTime>,
    },
    /// It runs out at another time. It keeps its place.
    SetExpiry(Option<OffsetDateTime>),
    /// It ends.
    Remove,
    /// It is hidden.
    Archive,
    /// It is shown again, with its old date and place.
    Restore,
    /// It comes to be, hidden.
    AddArchived {
        /// When it runs out.
        expires_at: Option<OffsetDateTime>,
    },
    /// It runs out at another time, hidden.
    SetArchivedExpiry(Option<OffsetDateTime>),
    /// It ends, hidden.
    RemoveArchived,
}

impl Change {
    /// An edge that comes to be now, for good.
    pub fn add(key: EdgeKey) -> Self {
        Self { key, op: Op::Add { created_at: None, expires_at: None } }
    }

    /// An edge that ends.
    pub fn remove(key: EdgeKey) -> Self {
        Self { key, op: Op::Remove }
    }
}

/// The revision and time that changes are committed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The revision.
    pub revision: Revision,
    /// The time of the transaction.
    pub time: OffsetDateTime,
}
