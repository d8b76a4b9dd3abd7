//! Commands, and what each must see to be decided.

use std::collections::{BTreeMap, BTreeSet};

use proto::error::Reason;
use proto::event::{EdgeKey, EdgeKind, Verb};
use proto::{Etag, Token, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::replacement::{Replacement, Work};

/// What a client asks for. Both ends of a pair are different accounts; the gRPC
/// layer has checked that.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// One account does something about another.
    Pair(PairCommand),
    /// Several of them, all or none.
    Batch(Vec<PairCommand>),
    /// One account does something about itself.
    Account {
        /// The account.
        user: UserId,
        /// What it does.
        action: AccountAction,
    },
    /// An account shall follow exactly a list, as planned on a snapshot.
    ReplaceFollowing(Replacement),
    /// A chunk of edges.
    Import {
        /// The edges, at most [`proto::event::MAX_EDGES`], in the order of lists.
        edges: Vec<ImportEdge>,
        /// What to do with edges that exist.
        on_conflict: OnConflict,
    },
}

/// What one account does about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairCommand {
    /// Who acts.
    pub actor: UserId,
    /// About whom.
    pub other: UserId,
    /// What.
    pub action: Action,
    /// The state that the pair must be in.
    pub expects: Option<Expects>,
}

/// What an account can do about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Follows it, or asks to.
    Follow,
    /// Stops following it, or withdraws its request to.
    Unfollow,
    /// Ends the other's follow.
    RemoveFollower,
    /// Mutes it.
    Mute {
        /// Until then; for good when absent.
        expires_at: Option<OffsetDateTime>,
    },
    /// Ends its mute.
    Unmute,
    /// Blocks it: what links the two ends.
    Block {
        /// Until then; for good when absent.
        expires_at: Option<OffsetDateTime>,
    },
    /// Ends its block.
    Unblock,
    /// Accepts the other's request to follow.
    AcceptRequest,
    /// Rejects it.
    RejectRequest,
    /// Withdraws its own request.
    CancelRequest,
}

/// The state that a command expects a pair to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// Its etag as the actor has read it; `None` for a text that is the etag of no state.
    Etag(Option<Etag>),
    /// Whether the actor follows the other.
    Following(bool),
}

/// What an account can do about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountAction {
    /// Becomes private, or public.
    SetPrivacy {
        /// Private.
        private: bool,
    },
    /// Goes for good.
    Erase,
    /// Hides its edges.
    Archive,
    /// Shows them again.
    Restore,
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
    /// When it runs out.
    pub expires_at: Option<OffsetDateTime>,
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
    /// Accounts whose following lists are compared with a snapshot.
    pub lists: BTreeMap<UserId, Token>,
    /// Accounts whose running jobs are loaded.
    pub jobs_of: BTreeSet<UserId>,
    /// Jobs whose lists were written before the command.
    pub prepared: BTreeSet<Uuid>,
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

    /// Whether a follow is possible, and whether it is there.
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

    /// What one edge of an import depends on.
    fn import(&mut self, EdgeKey { kind, source, target }: EdgeKey) {
        match kind {
            EdgeKind::Block => self.pair(source, target),
            EdgeKind::Follow => self.follow(source, target),
            _ => {
                self.edges.insert(EdgeKey { kind, source, target });
                self.accounts.extend([source, target]);
            }
        }
    }
}

impl Command {
    /// Adds what the command must see.
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

    /// The verb of its event.
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

    /// Who asks; none for an import, or a batch of several, which act for many.
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

    /// Others may always let go of an archived account, and keep it away.
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
