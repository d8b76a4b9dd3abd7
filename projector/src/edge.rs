//! Edges as the projector handles them: kinds, keys and values.

use proto::event::{self, EdgeKind, EdgeOp};
use proto::timestamp::to_millis;
use proto::{Position, Revision, UserId};

/// What an edge means. Unlike the contract's enum it has no "unspecified".
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
    /// All of them, in the order of the sweep.
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

    /// For logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::Mute => "mute",
            Self::Block => "block",
            Self::Request => "request",
        }
    }
}

/// An edge's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it means.
    pub kind: Kind,
    /// Where it starts.
    pub source: UserId,
    /// Where it ends.
    pub target: UserId,
}

/// An edge's values, in the units of the read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Place in lists.
    pub position: i64,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970; none for a permanent edge.
    pub expires_at: Option<i64>,
    /// Revision of its last change, where that is not the one that added it; see [`changed_at`].
    pub changed_at: Option<i64>,
}

/// The revision of an edge's last change, as the read model keeps it: none where it is the one that gave the edge its
/// position, which is so for all edges but those whose expiry changed or that came back from the archive.
pub fn changed_at(revision: Revision, position: Position) -> Option<i64> {
    (revision != position.revision()).then(|| revision.as_i64())
}

/// One change of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The edge.
    pub key: Key,
    /// Its values from now on; none if it is gone.
    pub edge: Option<Edge>,
    /// It did not exist before.
    pub added: bool,
}

impl Change {
    /// From a checked event of this revision; `None` for what decoding should have refused.
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
        let told = |op, revision| Change::of(&change(op), Revision(revision)).and_then(|change| change.edge);
        let changed_at = |op, revision| told(op, revision).expect("an edge").changed_at;
        assert_eq!(changed_at(EdgeOp::Added, 7), None);
        assert_eq!(changed_at(EdgeOp::Updated, 9), Some(9));
        // Back from the archive, in its old place.
        assert_eq!(changed_at(EdgeOp::Added, 9), Some(9));
        assert_eq!(told(EdgeOp::Removed, 9), None);
    }
}
