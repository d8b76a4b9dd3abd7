//! Edges, and decided changes of edges.

use proto::event::EdgeKey;
use proto::{Position, Revision};
use time::OffsetDateTime;

/// The values of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// When the edge was added; an import may set an earlier date.
    pub created_at: OffsetDateTime,
    /// When the edge expires; `None` for never.
    pub expires_at: Option<OffsetDateTime>,
    /// Its place in lists; fixed while the edge lives.
    pub position: Position,
    /// Revision of its last change.
    pub revision: Revision,
}

/// A decided change of one edge, before it has a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The changed edge.
    pub key: EdgeKey,
    /// The operation on it.
    pub op: Op,
}

/// An operation on an edge. Operations with `Archived` in their names change the archive alone and appear in no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Adds a live edge.
    Add {
        /// Its date; `None` for the time of the commit.
        created_at: Option<OffsetDateTime>,
        /// When it expires; `None` for never.
        expires_at: Option<OffsetDateTime>,
    },
    /// Changes the expiry. The edge keeps its position.
    SetExpiry(Option<OffsetDateTime>),
    /// Removes a live edge.
    Remove,
    /// Moves a live edge to the archive.
    Archive,
    /// Moves an archived edge back, with its old date and position.
    Restore,
    /// Adds an archived edge.
    AddArchived {
        /// When it expires; `None` for never.
        expires_at: Option<OffsetDateTime>,
    },
    /// Changes the expiry of an archived edge.
    SetArchivedExpiry(Option<OffsetDateTime>),
    /// Removes an archived edge.
    RemoveArchived,
}

impl Change {
    /// Adds an edge with the date of the commit and without expiry.
    pub fn add(key: EdgeKey) -> Self {
        Self { key, op: Op::Add { created_at: None, expires_at: None } }
    }

    /// Removes a live edge.
    pub fn remove(key: EdgeKey) -> Self {
        Self { key, op: Op::Remove }
    }
}

/// Revision and time of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Revision of the event.
    pub revision: Revision,
    /// Date of the commit.
    pub time: OffsetDateTime,
}
