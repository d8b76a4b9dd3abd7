//! Edges as the projector handles them: kinds, keys and values.

use proto::event::{self, EdgeKind, EdgeOp};
use proto::timestamp::to_millis;
use proto::{Position, Revision, UserId};

/// Kind of an edge. Unlike the contract's enum it has no "unspecified".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The source follows the target.
    Follow,
    /// The source has muted the target.
    Mute,
    /// The source has blocked the target.
    Block,
    /// The source has asked to follow the target.
    Request,
}

impl Kind {
    /// All kinds, in the order of the sweep.
    pub const ALL: [Self; 4] = [Self::Follow, Self::Mute, Self::Block, Self::Request];

    /// From the contract's enum; `None` for "unspecified".
    pub fn of(kind: EdgeKind) -> Option<Self> {
        match kind {
            EdgeKind::Unspecified => None,
            EdgeKind::Follow => Some(Self::Follow),
            EdgeKind::Mute => Some(Self::Mute),
            EdgeKind::Block => Some(Self::Block),
            EdgeKind::FollowRequest => Some(Self::Request),
        }
    }

    /// Name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::Mute => "mute",
            Self::Block => "block",
            Self::Request => "request",
        }
    }
}

/// Identifies an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kind of the edge.
    pub kind: Kind,
    /// Account at its start.
    pub source: UserId,
    /// Account at its end.
    pub target: UserId,
}

/// Values of an edge, in the units of the read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Position in lists.
    pub position: i64,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970; `None` for a permanent edge.
    pub expires_at: Option<i64>,
    /// Revision of its last change, if that is not the one that added it; see [`changed_at`].
    pub changed_at: Option<i64>,
}

/// The revision of an edge's last change, as the read model stores it: `None` if that revision gave the edge its
/// position. Only edges whose expiry changed or that were restored from the archive have another one.
pub fn changed_at(revision: Revision, position: Position) -> Option<i64> {
    (revision != position.revision()).then(|| revision.as_i64())
}

/// One change of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The changed edge.
    pub key: Key,
    /// Values after the change; `None` if the edge was removed.
    pub edge: Option<Edge>,
    /// The edge did not exist before.
    pub added: bool,
}

impl Change {
    /// From a checked event of this revision; `None` for values that decoding rejects.
    pub fn of(change: &event::EdgeChange, revision: Revision) -> Option<Self> {
        let key =
            Key { kind: Kind::of(change.key.kind)?, source: change.key.source, target: change.key.target };
        let edge = Edge {
            position: change.position.as_i64(),
            created_at: to_millis(change.created_at),
            expires_at: change.expires_at.map(to_millis),
            changed_at: changed_at(revision, change.position),
        };
        match change.op {
            EdgeOp::Unspecified => None,
            EdgeOp::Added => Some(Self { key, edge: Some(edge), added: true }),
            EdgeOp::Updated => Some(Self { key, edge: Some(edge), added: false }),
            EdgeOp::Removed => Some(Self { key, edge: None, added: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_a_change_after_the_first_has_a_revision_of_its_own() {
        let user = |n| UserId::new(Uuid::from_u128(n)).expect("not nil");
        let change = |op| event::EdgeChange {
            key: event::EdgeKey { kind: EdgeKind::Mute, source: user(1), target: user(2) },
            op,
            position: Position::new(Revision(7), 3),
            created_at: OffsetDateTime::UNIX_EPOCH,
            expires_at: None,
        };
        let edge = |op, revision| Change::of(&change(op), Revision(revision)).and_then(|change| change.edge);
        let changed_at = |op, revision| edge(op, revision).expect("an edge").changed_at;
        assert_eq!(changed_at(EdgeOp::Added, 7), None);
        assert_eq!(changed_at(EdgeOp::Updated, 9), Some(9));
        // Restored from the archive, at its old position.
        assert_eq!(changed_at(EdgeOp::Added, 9), Some(9));
        assert_eq!(edge(EdgeOp::Removed, 9), None);
    }
}
