//! Links between a viewer and other accounts.

use proto::etag::{Etag, PairEdge};
use proto::event::EdgeKind;
use proto::{Position, Revision, UserId};

use super::{Question, QuestionName, Shared};

/// One edge between two accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Position in lists.
    pub position: Position,
    /// Creation time, in milliseconds since 1970.
    pub created_at_millis: i64,
    /// Expiry, in milliseconds since 1970; `None` for a permanent edge.
    pub expires_at_millis: Option<i64>,
    /// The revision of its last change.
    pub revision: Revision,
}

/// A viewer and another account.
pub type Pair = (UserId, UserId);

/// The edges of one kind that start at an account, or those that end there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Side {
    pub kind: EdgeKind,
    /// True if they start at the account.
    pub outgoing: bool,
}

impl Side {
    /// The edges that start at an account.
    pub const fn outgoing(kind: EdgeKind) -> Self {
        Self { kind, outgoing: true }
    }

    /// The edges that end there.
    pub const fn incoming(kind: EdgeKind) -> Self {
        Self { kind, outgoing: false }
    }
}

/// All links between a viewer and another account, except whether the other has muted the viewer, which is private.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    /// The viewer follows the other.
    pub following: Option<Link>,
    /// The other follows the viewer.
    pub followed_by: Option<Link>,
    /// The viewer asks to follow the other.
    pub requested: Option<Link>,
    /// The other asks to follow the viewer.
    pub request_received: Option<Link>,
    /// The viewer has muted the other.
    pub muting: Option<Link>,
    /// The viewer has blocked the other.
    pub blocking: Option<Link>,
    /// The other has blocked the viewer.
    pub blocked_by: Option<Link>,
}

/// The possible links of a viewer with another account, from the viewer's side, as far as the viewer may see them.
pub const LINKS: [Side; 7] = [
    Side::outgoing(EdgeKind::Follow),
    Side::incoming(EdgeKind::Follow),
    Side::outgoing(EdgeKind::FollowRequest),
    Side::incoming(EdgeKind::FollowRequest),
    Side::outgoing(EdgeKind::Mute),
    Side::outgoing(EdgeKind::Block),
    Side::incoming(EdgeKind::Block),
];

impl Relation {
    /// The index of an edge on this side of the viewer; `None` for private edges.
    pub fn slot(&mut self, side: Side) -> Option<&mut Option<Link>> {
        match (side.kind, side.outgoing) {
            (EdgeKind::Follow, true) => Some(&mut self.following),
            (EdgeKind::Follow, false) => Some(&mut self.followed_by),
            (EdgeKind::FollowRequest, true) => Some(&mut self.requested),
            (EdgeKind::FollowRequest, false) => Some(&mut self.request_received),
            (EdgeKind::Mute, true) => Some(&mut self.muting),
            (EdgeKind::Block, true) => Some(&mut self.blocking),
            (EdgeKind::Block, false) => Some(&mut self.blocked_by),
            (EdgeKind::Mute, false) | (EdgeKind::Unspecified, _) => None,
        }
    }

    /// True if one of the two has blocked the other.
    pub fn blocked(&self) -> bool {
        self.blocking.is_some() || self.blocked_by.is_some()
    }

    /// The state of the pair that the viewer may see.
    pub fn etag(&self, viewer: UserId, other: UserId) -> Etag {
        let edges = LINKS.into_iter().zip(self.links()).filter_map(|(Side { kind, outgoing }, link)| {
            let link = link?;
            Some(PairEdge {
                kind,
                outgoing,
                revision: link.revision,
                created_at_millis: link.created_at_millis,
                expires_at_millis: link.expires_at_millis,
            })
        });
        Etag::of(viewer, other, edges)
    }

    /// In the order of [`LINKS`].
    fn links(mut self) -> [Option<Link>; LINKS.len()] {
        LINKS.map(|side| self.slot(side).and_then(|link| *link))
    }
}

/// What are the links between the viewer and these accounts?
#[derive(Debug)]
pub struct Relations {
    pub viewer: UserId,
    /// May repeat; the viewer itself has no link.
    pub targets: Vec<UserId>,
}

impl Question for Relations {
    type Answer = Vec<Relation>;

    const IS_SHARED: bool = true;

    fn name(&self) -> QuestionName {
        QuestionName::Relations
    }

    fn items(&self) -> usize {
        self.targets.len()
    }
}

impl Shared for Relations {
    type Item = Pair;
    type Value = Relation;

    fn to_items(&self) -> Vec<Self::Item> {
        pairs(self.viewer, &self.targets)
    }
}

/// Which of these accounts does the viewer follow?
#[derive(Debug)]
pub struct Check {
    pub viewer: UserId,
    /// May repeat.
    pub targets: Vec<UserId>,
}

impl Question for Check {
    type Answer = Vec<bool>;

    const IS_SHARED: bool = true;

    fn name(&self) -> QuestionName {
        QuestionName::Check
    }

    fn items(&self) -> usize {
        self.targets.len()
    }
}

impl Shared for Check {
    type Item = Pair;
    type Value = bool;

    fn to_items(&self) -> Vec<Self::Item> {
        pairs(self.viewer, &self.targets)
    }
}

fn pairs(viewer: UserId, targets: &[UserId]) -> Vec<Pair> {
    targets.iter().map(|target| (viewer, *target)).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn link(revision: u64) -> Option<Link> {
        Some(Link {
            position: Position::new(Revision(1), 0),
            created_at_millis: 0,
            expires_at_millis: None,
            revision: Revision(revision),
        })
    }

    #[test]
    fn every_link_has_its_slot_and_moves_the_etag() {
        let [viewer, other] = [1, 2].map(|n| UserId::new(Uuid::from_u128(n)).expect("not nil"));
        let mut relation = Relation::default();
        let mut etags = vec![relation.etag(viewer, other)];
        for (n, side) in LINKS.into_iter().enumerate() {
            let slot = relation.slot(side).expect("a slot");
            assert_eq!(*slot, None, "no other link has this place");
            *slot = link(5);
            assert_eq!(relation.links()[n], link(5));
            let etag = relation.etag(viewer, other);
            assert!(!etags.contains(&etag), "{side:?}");
            etags.push(etag);
        }
        assert_eq!(relation.slot(Side::incoming(EdgeKind::Mute)), None);
    }

    #[test]
    fn a_block_either_way_is_one() {
        assert!(!Relation { muting: link(1), following: link(1), ..Relation::default() }.blocked());
        assert!(Relation { blocking: link(1), ..Relation::default() }.blocked());
        assert!(Relation { blocked_by: link(1), ..Relation::default() }.blocked());
    }
}
