//! Commands, and what each must see to be decided.

use std::collections::BTreeSet;

use proto::UserId;
use proto::error::Reason;
use proto::event::{EdgeKey, EdgeKind, Verb};
use time::OffsetDateTime;

/// What a client asks for. Both ends of a pair are different accounts; the gRPC
/// layer has checked that.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `actor` follows `target`.
    Follow {
        /// Who follows.
        actor: UserId,
        /// Who is followed.
        target: UserId,
    },
    /// `actor` stops following `target`, or withdraws its request to.
    Unfollow {
        /// Who stops.
        actor: UserId,
        /// Who is no longer followed.
        target: UserId,
    },
    /// A chunk of edges.
    Import {
        /// The edges, at most [`proto::event::MAX_EDGES`], in the order of lists.
        edges: Vec<ImportEdge>,
        /// What to do with edges that exist.
        on_conflict: OnConflict,
    },
}

/// One edge to import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportEdge {
    /// Its place in the chunk as the client sent it.
    pub index: u32,
    /// The edge.
    pub key: EdgeKey,
    /// Its date; the time of the commit when absent.
    pub created_at: Option<OffsetDateTime>,
}

/// What an import does with edges that exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Leaves them alone.
    #[default]
    Skip,
    /// Refuses them.
    Fail,
}

/// What became of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// How many edges were added.
    pub accepted: u32,
    /// How many existed.
    pub unchanged: u32,
    /// Those that the rules refused.
    pub refused: Vec<RefusedEdge>,
}

/// An edge that the rules refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedEdge {
    /// Its place in the chunk.
    pub index: u32,
    /// Why.
    pub reason: Reason,
}

/// The edges and accounts that decisions depend on. Sorted, so that the store
/// always asks in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// Edges to load.
    pub edges: BTreeSet<EdgeKey>,
    /// Accounts to load.
    pub accounts: BTreeSet<UserId>,
}

impl Touches {
    /// All that can link two accounts, seen from `viewer`: what an answer's
    /// relationship shows.
    fn pair(&mut self, viewer: UserId, other: UserId) {
        use EdgeKind::{Block, Follow, FollowRequest, Mute};
        for (kind, source, target) in [
            (Follow, viewer, other),
            (Follow, other, viewer),
            (FollowRequest, viewer, other),
            (FollowRequest, other, viewer),
            (Mute, viewer, other),
            (Block, viewer, other),
            (Block, other, viewer),
        ] {
            self.edges.insert(EdgeKey { kind, source, target });
        }
        self.accounts.extend([viewer, other]);
    }

    /// What one edge of an import depends on.
    fn import(&mut self, key: EdgeKey) {
        let EdgeKey { source, target, .. } = key;
        self.edges.extend([
            key,
            EdgeKey { kind: EdgeKind::Block, source, target },
            EdgeKey { kind: EdgeKind::Block, source: target, target: source },
        ]);
        self.accounts.extend([source, target]);
    }
}

impl Command {
    /// Adds what the command must see.
    pub fn touches(&self, touches: &mut Touches) {
        match self {
            Self::Follow { actor, target } | Self::Unfollow { actor, target } => {
                touches.pair(*actor, *target)
            }
            Self::Import { edges, .. } => edges.iter().for_each(|edge| touches.import(edge.key)),
        }
    }

    /// The verb of its event.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Follow { .. } => Verb::Follow,
            Self::Unfollow { .. } => Verb::Unfollow,
            Self::Import { .. } => Verb::Import,
        }
    }

    /// Who asks; none for an import, which acts for many.
    pub fn actor(&self) -> Option<UserId> {
        match self {
            Self::Follow { actor, .. } | Self::Unfollow { actor, .. } => Some(*actor),
            Self::Import { .. } => None,
        }
    }

    /// The pair whose state the answer shows: (viewer, other).
    pub fn pair(&self) -> Option<(UserId, UserId)> {
        match self {
            Self::Follow { actor, target } | Self::Unfollow { actor, target } => Some((*actor, *target)),
            Self::Import { .. } => None,
        }
    }
}
