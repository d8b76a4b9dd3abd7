//! What answers are made of.
//!
//! Owns: the lists that an account has, their rows, counts, what links two accounts, and the revisions that a value is
//! of. It must not know any store or gRPC.
//! What can go wrong: nothing; these are values.

use proto::etag::{Etag, PairEdge};
use proto::event::EdgeKind;
use proto::{Position, Revision, Token, UserId};

use super::{Error, Statement};

/// Which list of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// Who follows it.
    Followers,
    /// Whom it follows.
    Following,
    /// Whom it has muted.
    Mutes,
    /// Whom it has blocked.
    Blocks,
    /// Who asks to follow it.
    RequestsReceived,
    /// Whom it asks to follow.
    RequestsSent,
}

impl ListKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Followers,
        Self::Following,
        Self::Mutes,
        Self::Blocks,
        Self::RequestsReceived,
        Self::RequestsSent,
    ];

    /// Its edges, and whether they start at the account.
    pub fn edges(self) -> (EdgeKind, bool) {
        match self {
            Self::Followers => (EdgeKind::Follow, false),
            Self::Following => (EdgeKind::Follow, true),
            Self::Mutes => (EdgeKind::Mute, true),
            Self::Blocks => (EdgeKind::Block, true),
            Self::RequestsReceived => (EdgeKind::FollowRequest, false),
            Self::RequestsSent => (EdgeKind::FollowRequest, true),
        }
    }
}

/// The edges of one kind that start at an account, or those that end there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Side {
    /// The kind.
    pub kind: EdgeKind,
    /// They start there.
    pub outgoing: bool,
}

impl From<(EdgeKind, bool)> for Side {
    fn from((kind, outgoing): (EdgeKind, bool)) -> Self {
        Self { kind, outgoing }
    }
}

/// The lists that others look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublicList {
    /// Who follows the account.
    Followers,
    /// Whom the account follows.
    Following,
}

impl PublicList {
    /// The same among all lists.
    pub fn kind(self) -> ListKind {
        match self {
            Self::Followers => ListKind::Followers,
            Self::Following => ListKind::Following,
        }
    }
}

/// One row of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRow {
    /// The account at the other end.
    pub user: UserId,
    /// Its place; rows come with descending positions.
    pub position: Position,
    /// When the edge came to be, in milliseconds since 1970.
    pub created_at_millis: i64,
    /// When it runs out; none for one for good.
    pub expires_at_millis: Option<i64>,
}

/// One row of a list, and what links somebody who looks at it with the row's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenRow {
    /// The row.
    pub row: ListRow,
    /// The links.
    pub relation: Relation,
}

/// The counts of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many follow it.
    pub followers: u64,
    /// How many it follows.
    pub following: u64,
    /// How many it has muted.
    pub muting: u64,
    /// How many it has blocked.
    pub blocking: u64,
    /// How many it asks to follow.
    pub requests_sent: u64,
    /// How many ask to follow it.
    pub requests_received: u64,
}

/// One edge between two accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its place in lists.
    pub position: Position,
    /// When it came to be, in milliseconds since 1970.
    pub created_at_millis: i64,
    /// When it runs out; none for one for good.
    pub expires_at_millis: Option<i64>,
    /// The revision of its last change.
    pub revision: Revision,
}

/// All that links a viewer with another account. Whether the other has muted the viewer is not in it: nobody learns that.
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

/// What can link a viewer with another: the edges, and whether they start at the viewer.
pub const LINKS: [(EdgeKind, bool); 7] = [
    (EdgeKind::Follow, true),
    (EdgeKind::Follow, false),
    (EdgeKind::FollowRequest, true),
    (EdgeKind::FollowRequest, false),
    (EdgeKind::Mute, true),
    (EdgeKind::Block, true),
    (EdgeKind::Block, false),
];

impl Relation {
    /// The place of an edge of this kind, `outgoing` if it starts at the viewer; `None` for what nobody learns.
    pub fn slot(&mut self, kind: EdgeKind, outgoing: bool) -> Option<&mut Option<Link>> {
        match (kind, outgoing) {
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

    /// One of the two has blocked the other.
    pub fn blocked(&self) -> bool {
        self.blocking.is_some() || self.blocked_by.is_some()
    }

    /// The state of the pair as the viewer may know it.
    pub fn etag(&self, viewer: UserId, other: UserId) -> Etag {
        let edges = LINKS.into_iter().zip(self.links()).filter_map(|((kind, outgoing), link)| {
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
    fn links(&self) -> [Option<Link>; LINKS.len()] {
        [
            self.following,
            self.followed_by,
            self.requested,
            self.request_received,
            self.muting,
            self.blocking,
            self.blocked_by,
        ]
    }
}

/// A value, and the revisions that it lies between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// Every change up to here is in it. Single later changes may be, up to `target`.
    pub as_of: Token,
    /// No later change is in it. The same as `as_of` where the value is of one revision.
    pub target: Token,
    /// How it came about.
    pub origin: Origin,
}

/// How a value came about, for those who ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its `as_of` before recent events were laid over it; none if none could be.
    pub store_as_of: Option<Token>,
    /// How many recent events changed it.
    pub overlaid_events: u32,
    /// The statement that gave it, if other questions share that; the last one if there were several.
    pub statement: Option<Statement>,
}

impl<T> Versioned<T> {
    /// A value of exactly one revision.
    pub fn exact(value: T, as_of: Token) -> Self {
        Self::between(value, as_of, as_of)
    }

    /// A value that holds all up to `as_of`, and perhaps something up to `target`.
    pub fn between(value: T, as_of: Token, target: Token) -> Self {
        Self { value, as_of, target, origin: Origin::default() }
    }

    /// Both values in one, between the revisions that either lies between.
    pub fn with<U, V>(
        self,
        other: Versioned<U>,
        join: impl FnOnce(T, U) -> V,
    ) -> Result<Versioned<V>, Error> {
        if self.as_of.epoch != other.as_of.epoch {
            return Err(Error::failed("the epoch changed between two parts of an answer"));
        }
        let (as_of, target) = (self.as_of.min(other.as_of), self.target.max(other.target));
        Ok(Versioned { value: join(self.value, other.value), as_of, target, origin: self.origin })
    }

    /// The same with another value.
    pub fn map<U>(self, value: impl FnOnce(T) -> U) -> Versioned<U> {
        let Self { value: old, as_of, target, origin } = self;
        Versioned { value: value(old), as_of, target, origin }
    }
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
        for (n, (kind, outgoing)) in LINKS.into_iter().enumerate() {
            let slot = relation.slot(kind, outgoing).expect("a slot");
            assert_eq!(*slot, None, "no other link has this place");
            *slot = link(5);
            assert_eq!(relation.links()[n], link(5));
            let etag = relation.etag(viewer, other);
            assert!(!etags.contains(&etag), "{kind:?}, outgoing: {outgoing}");
            etags.push(etag);
        }
        assert_eq!(relation.slot(EdgeKind::Mute, false), None);
    }

    #[test]
    fn a_block_either_way_is_one() {
        assert!(!Relation { muting: link(1), following: link(1), ..Relation::default() }.blocked());
        assert!(Relation { blocking: link(1), ..Relation::default() }.blocked());
        assert!(Relation { blocked_by: link(1), ..Relation::default() }.blocked());
    }
}
