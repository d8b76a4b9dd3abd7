//! Commands, and the edges and accounts that their decisions depend on.

use std::collections::{BTreeMap, BTreeSet};

use proto::error::Reason;
use proto::event::{EdgeKey, EdgeKind, Verb};
use proto::{Etag, Token, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::replacement::{Replacement, Work};

/// A checked request of a client. The two accounts of a pair differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A command of one account about another.
    Pair(PairCommand),
    /// Several commands about pairs, all or none of them.
    Batch(Vec<PairCommand>),
    /// A command of an account about itself.
    Account {
        /// The account.
        user: UserId,
        /// The action.
        action: AccountAction,
    },
    /// Replaces the following list of an account, as planned on a snapshot.
    ReplaceFollowing(Replacement),
    /// A chunk of edges.
    Import {
        /// The edges, at most [`proto::event::MAX_EDGES`], in the order of lists.
        edges: Vec<ImportEdge>,
        /// How to treat existing edges.
        on_conflict: OnConflict,
    },
}

/// A command of one account about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairCommand {
    /// The acting account.
    pub actor: UserId,
    /// The other account.
    pub other: UserId,
    /// The action.
    pub action: Action,
    /// Precondition on the state of the pair.
    pub expects: Option<Expects>,
}

/// Actions of one account about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Follows, or sends a follow request to a private account.
    Follow,
    /// Removes the follow or withdraws the request.
    Unfollow,
    /// Removes the other account's follow.
    RemoveFollower,
    /// Mutes, or changes the expiry of the mute.
    Mute {
        /// `None` for no expiry.
        expires_at: Option<OffsetDateTime>,
    },
    /// Removes the mute.
    Unmute,
    /// Blocks, and removes follows and requests between the two.
    Block {
        /// `None` for no expiry.
        expires_at: Option<OffsetDateTime>,
    },
    /// Removes the block.
    Unblock,
    /// Accepts the other account's follow request.
    AcceptRequest,
    /// Rejects the other account's follow request.
    RejectRequest,
    /// Withdraws the own follow request.
    CancelRequest,
}

/// Precondition on the state of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// The etag that the actor has read; `None` for a text that cannot be an etag of this release.
    Etag(Option<Etag>),
    /// Whether the actor follows the other.
    Following(bool),
}

/// Actions of an account about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountAction {
    /// Makes the account private or public.
    SetPrivacy {
        /// True for private.
        private: bool,
    },
    /// Erases the account.
    Erase,
    /// Archives its edges.
    Archive,
    /// Restores its edges.
    Restore,
}

/// One edge to import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportEdge {
    /// Its index in the client's chunk.
    pub index: u32,
    /// The edge.
    pub key: EdgeKey,
    /// Its date; `None` for the time of the commit.
    pub created_at: Option<OffsetDateTime>,
    /// When it expires; `None` for never.
    pub expires_at: Option<OffsetDateTime>,
}

/// How an import treats existing edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Counts them as unchanged.
    #[default]
    Skip,
    /// Reports them as refused.
    Fail,
}

/// Results of a chunk of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Number of added edges.
    pub accepted: u32,
    /// Number of existing edges.
    pub unchanged: u32,
    /// Refused edges, with reasons.
    pub refused: Vec<RefusedEdge>,
}

/// A refused edge of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedEdge {
    /// Its index in the client's chunk.
    pub index: u32,
    /// Why it was refused.
    pub reason: Reason,
}

/// What decisions depend on. Sorted, so that the store always reads in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// Edges that decisions and answers show.
    pub edges: BTreeSet<EdgeKey>,
    /// Accounts whose state or counts matter.
    pub accounts: BTreeSet<UserId>,
    /// Accounts whose following lists are compared with a snapshot.
    pub lists: BTreeMap<UserId, Token>,
    /// Accounts whose running jobs are loaded.
    pub jobs_of: BTreeSet<UserId>,
    /// Jobs whose lists were written before the command.
    pub prepared: BTreeSet<Uuid>,
}

impl Touches {
    /// All edges that the relationship of an answer shows to `viewer`.
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

    /// An edge and the accounts at its ends.
    pub fn edge(&mut self, key: EdgeKey) {
        self.edges.insert(key);
        self.accounts.extend([key.source, key.target]);
    }

    /// All edges that decide about a follow.
    pub fn follow(&mut self, source: UserId, target: UserId) {
        let key = |kind, source, target| EdgeKey { kind, source, target };
        self.edges.extend([
            key(EdgeKind::Follow, source, target),
            key(EdgeKind::FollowRequest, source, target),
            key(EdgeKind::Block, source, target),
            key(EdgeKind::Block, target, source),
        ]);
        self.accounts.extend([source, target]);
    }

    /// All edges that decide about an imported edge.
    fn import(&mut self, EdgeKey { kind, source, target }: EdgeKey) {
        match kind {
            EdgeKind::Block => self.pair(source, target),
            EdgeKind::Follow => self.follow(source, target),
            _ => self.edge(EdgeKey { kind, source, target }),
        }
    }
}

impl Command {
    /// Adds what the decision of this command depends on.
    pub fn touches(&self, touches: &mut Touches) {
        match self {
            Self::Pair(command) => touches.pair(command.actor, command.other),
            Self::Batch(commands) => commands.iter().for_each(|c| touches.pair(c.actor, c.other)),
            Self::Account { user, .. } => {
                touches.accounts.insert(*user);
                touches.jobs_of.insert(*user);
            }
            Self::ReplaceFollowing(Replacement { actor, seen, work, .. }) => {
                touches.accounts.insert(*actor);
                match work {
                    Work::Now(changes) => {
                        // Of two snapshots the older one: the list has not changed since either of them.
                        let list = touches.lists.entry(*actor).or_insert(*seen);
                        *list = (*list).min(*seen);
                        changes.iter().for_each(|change| touches.follow(*actor, change.key.target));
                    }
                    Work::Job(job_id) => {
                        touches.prepared.insert(*job_id);
                    }
                }
            }
            Self::Import { edges, .. } => edges.iter().for_each(|edge| touches.import(edge.key)),
        }
    }

    /// Verb of the command's event.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Pair(command) => command.action.verb(),
            Self::Batch(_) => Verb::Batch,
            Self::Account { action, .. } => match action {
                AccountAction::SetPrivacy { .. } => Verb::SetAccountPrivacy,
                AccountAction::Erase => Verb::EraseAccount,
                AccountAction::Archive => Verb::ArchiveAccount,
                AccountAction::Restore => Verb::RestoreAccount,
            },
            Self::ReplaceFollowing(_) => Verb::ReplaceFollowing,
            Self::Import { .. } => Verb::Import,
        }
    }

    /// The acting account; `None` for an import, and for a batch with several actors.
    pub fn actor(&self) -> Option<UserId> {
        match self {
            Self::Pair(command) => Some(command.actor),
            Self::Batch(commands) => {
                let actor = commands.first()?.actor;
                commands.iter().all(|command| command.actor == actor).then_some(actor)
            }
            Self::Account { user, .. } => Some(*user),
            Self::ReplaceFollowing(planned) => Some(planned.actor),
            Self::Import { .. } => None,
        }
    }
}

impl Action {
    fn verb(self) -> Verb {
        match self {
            Self::Follow => Verb::Follow,
            Self::Unfollow => Verb::Unfollow,
            #[cfg(not(feature = "next-version"))]
            Self::RemoveFollower => Verb::RemoveFollower,
            #[cfg(feature = "next-version")]
            Self::RemoveFollower => Verb::DismissFollower,
            Self::Mute { .. } => Verb::Mute,
            Self::Unmute => Verb::Unmute,
            Self::Block { .. } => Verb::Block,
            Self::Unblock => Verb::Unblock,
            Self::AcceptRequest => Verb::AcceptFollowRequest,
            Self::RejectRequest => Verb::RejectFollowRequest,
            Self::CancelRequest => Verb::CancelFollowRequest,
        }
    }

    /// Whether the other account may be archived: removals and blocks are always possible.
    pub fn is_allowed_on_archived(self) -> bool {
        match self {
            Self::Unfollow
            | Self::RemoveFollower
            | Self::Unmute
            | Self::Unblock
            | Self::RejectRequest
            | Self::CancelRequest
            | Self::Block { .. } => true,
            Self::Follow | Self::Mute { .. } | Self::AcceptRequest => false,
        }
    }
}
