//! The part of the graph that a batch loads: applies decided changes, maintains the counts, and returns the differences
//! to write.

use std::collections::{BTreeMap, BTreeSet};

use proto::etag::{Etag, PairEdge};
use proto::event::{AccountChange, AccountCounts, AccountOp, EdgeChange, EdgeKey, EdgeKind, EdgeOp};
use proto::timestamp::to_millis;
use proto::{Position, Revision, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::account::{Account, AccountState};
use super::change::{Change, Edge, Op, Stamp};
use super::job::JobKind;
use super::layer::Layer;

const PAIR_KINDS: [EdgeKind; 4] =
    [EdgeKind::Follow, EdgeKind::FollowRequest, EdgeKind::Mute, EdgeKind::Block];

/// The loaded part of the graph, with the changes of this batch applied.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Edges that reads return.
    pub live: Layer,
    /// Edges with an archived end, which no read returns.
    pub archived: Layer,
    accounts: BTreeMap<UserId, Account>,
    changed_accounts: BTreeSet<UserId>,
    erased_accounts: BTreeSet<UserId>,
    /// The running jobs.
    pub running_jobs: BTreeMap<(UserId, JobKind), Uuid>,
    /// Archived accounts with live mutes or blocks by others. Their own counts do not include those.
    pub shown_by_others: BTreeSet<UserId>,
    /// Accounts whose following lists in the database have no edge newer than the snapshots of the planned commands.
    pub unchanged_lists: BTreeSet<UserId>,
    /// Prepared jobs that were deleted before the commands that start them.
    pub discarded_lists: BTreeSet<Uuid>,
    /// The loaded accounts, including those without a row; changes of others fail. `None` if every account counts as
    /// loaded.
    pub loaded: Option<BTreeSet<UserId>>,
}

/// A change touches an account that was not loaded, so its counts are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a change touches the account {0}, which was not loaded")]
pub struct Unseen(UserId);

impl Graph {
    /// A graph of loaded edges and accounts.
    pub fn new(live: BTreeMap<EdgeKey, Edge>, accounts: BTreeMap<UserId, Account>) -> Self {
        Self { live: Layer::new(live), accounts, ..Self::default() }
    }

    /// The running job of a kind.
    pub fn running_job(&self, user: UserId, kind: JobKind) -> Option<Uuid> {
        self.running_jobs.get(&(user, kind)).copied()
    }

    /// Whether an archived account has live edges left.
    pub fn has_edges_to_hide(&self, user: UserId) -> bool {
        self.account(user).has_edges() || self.shown_by_others.contains(&user)
    }

    /// A live edge.
    pub fn edge(&self, kind: EdgeKind, source: UserId, target: UserId) -> Option<&Edge> {
        self.live.get(&EdgeKey { kind, source, target })
    }

    /// Whether the following list of an account has no edge newer than a revision, including edges of this batch.
    /// Removed edges show in the counts.
    pub fn list_is_unchanged(&self, user: UserId, since: Revision) -> bool {
        let newer = |key: &&EdgeKey| {
            key.source == user
                && matches!(key.kind, EdgeKind::Follow | EdgeKind::FollowRequest)
                && self.live.get(key).is_some_and(|edge| edge.revision > since)
        };
        self.unchanged_lists.contains(&user) && self.live.keys().find(newer).is_none()
    }

    /// An account; the default if it has no row.
    pub fn account(&self, user: UserId) -> Account {
        self.accounts.get(&user).copied().unwrap_or_default()
    }

    /// A copy of some edges and accounts, to try an atomic batch on.
    pub fn part(&self, edges: &BTreeSet<EdgeKey>, accounts: &BTreeSet<UserId>) -> Self {
        Self {
            live: self.live.part(edges),
            archived: self.archived.part(edges),
            accounts: accounts.iter().filter_map(|user| Some((*user, *self.accounts.get(user)?))).collect(),
            ..Self::default()
        }
    }

    /// Applies the changes of one event. Returns its visible changes, and the counts after it. Fails, without effect,
    /// if a change touches an account that was not loaded.
    pub fn commit(
        &mut self,
        changes: &[Change],
        accounts: &[AccountChange],
        stamp: Stamp,
    ) -> Result<(Vec<EdgeChange>, Vec<AccountCounts>), Unseen> {
        let ends = changes.iter().flat_map(|change| [change.key.source, change.key.target]);
        let unseen = |user: &UserId| self.loaded.as_ref().is_some_and(|loaded| !loaded.contains(user));
        if let Some(user) = ends.chain(accounts.iter().map(|change| change.user)).find(unseen) {
            return Err(Unseen(user));
        }
        let mut touched = BTreeSet::new();
        let mut edges = Vec::with_capacity(changes.len());
        for (index, change) in changes.iter().enumerate() {
            let visible = self.apply(change, Position::new(stamp.revision, index), stamp);
            if let Some(edge_change) = visible {
                touched.extend([change.key.source, change.key.target]);
                edges.push(edge_change);
            }
        }
        let counts = touched.iter().map(|user| self.counts(*user)).collect();
        self.changed_accounts.append(&mut touched);
        accounts.iter().for_each(|change| self.apply_account(change));
        Ok((edges, counts))
    }

    fn apply(&mut self, change: &Change, next: Position, stamp: Stamp) -> Option<EdgeChange> {
        let key = change.key;
        let fresh = |created_at: Option<OffsetDateTime>, expires_at| Edge {
            created_at: created_at.unwrap_or(stamp.time),
            expires_at,
            position: next,
            revision: stamp.revision,
        };
        let stamped = |edge: Edge| Edge { revision: stamp.revision, ..edge };
        let visible = |op, edge: Edge| EdgeChange {
            key,
            op,
            position: edge.position,
            created_at: edge.created_at,
            expires_at: edge.expires_at,
        };
        match change.op {
            Op::Add { created_at, expires_at } => {
                let edge = fresh(created_at, expires_at);
                self.live.put(key, edge);
                self.count(key, 1);
                Some(visible(EdgeOp::Added, edge))
            }
            Op::SetExpiry(expires_at) => {
                let edge = Edge { expires_at, ..stamped(*self.live.get(&key)?) };
                self.live.put(key, edge);
                Some(visible(EdgeOp::Updated, edge))
            }
            Op::Remove => {
                let edge = self.live.take(&key)?;
                self.count(key, -1);
                Some(visible(EdgeOp::Removed, edge))
            }
            Op::Archive => {
                let edge = self.live.take(&key)?;
                self.archived.put(key, edge);
                self.count(key, -1);
                Some(visible(EdgeOp::Removed, edge))
            }
            Op::Restore => {
                let edge = stamped(self.archived.take(&key)?);
                self.live.put(key, edge);
                self.count(key, 1);
                Some(visible(EdgeOp::Added, edge))
            }
            Op::AddArchived { expires_at } => {
                self.archived.put(key, fresh(None, expires_at));
                None
            }
            Op::SetArchivedExpiry(expires_at) => {
                let edge = stamped(*self.archived.get(&key)?);
                self.archived.put(key, Edge { expires_at, ..edge });
                None
            }
            Op::RemoveArchived => {
                self.archived.take(&key);
                None
            }
        }
    }

    fn count(&mut self, key: EdgeKey, by: i64) {
        let step = |count: &mut u64| *count = count.saturating_add_signed(by);
        let source = self.accounts.entry(key.source).or_default();
        match key.kind {
            EdgeKind::Follow => step(&mut source.following),
            EdgeKind::Mute => step(&mut source.muting),
            EdgeKind::Block => step(&mut source.blocking),
            EdgeKind::FollowRequest => step(&mut source.requests_sent),
            EdgeKind::Unspecified => {}
        }
        let target = self.accounts.entry(key.target).or_default();
        match key.kind {
            EdgeKind::Follow => step(&mut target.followers),
            EdgeKind::FollowRequest => step(&mut target.requests_received),
            EdgeKind::Mute | EdgeKind::Block | EdgeKind::Unspecified => {}
        }
    }

    fn apply_account(&mut self, change: &AccountChange) {
        let account = self.accounts.entry(change.user).or_default();
        match change.op {
            AccountOp::MadePrivate => account.private = true,
            AccountOp::MadePublic => account.private = false,
            AccountOp::EraseStarted => account.state = AccountState::Erasing,
            AccountOp::Archived => account.state = AccountState::Archived,
            AccountOp::Restored => account.state = AccountState::Restoring,
            AccountOp::Erased => {
                self.accounts.remove(&change.user);
                self.changed_accounts.remove(&change.user);
                self.erased_accounts.insert(change.user);
                return;
            }
            AccountOp::Unspecified => return,
        }
        self.changed_accounts.insert(change.user);
    }

    /// Completes the restore of an account: it becomes active.
    pub fn reactivate(&mut self, user: UserId) {
        self.accounts.entry(user).or_default().state = AccountState::Active;
        self.changed_accounts.insert(user);
    }

    fn counts(&self, user: UserId) -> AccountCounts {
        let account = self.account(user);
        AccountCounts {
            user,
            followers: account.followers,
            following: account.following,
            muting: account.muting,
            blocking: account.blocking,
            requests_sent: account.requests_sent,
            requests_received: account.requests_received,
        }
    }

    /// The etag of a pair as `viewer` may know it. Archived edges are not part of it.
    pub fn pair_etag(&self, viewer: UserId, other: UserId) -> Etag {
        let both_ways = [(viewer, other, true), (other, viewer, false)];
        let edges = PAIR_KINDS.into_iter().flat_map(|kind| {
            both_ways.into_iter().filter_map(move |(source, target, outgoing)| {
                let edge = self.edge(kind, source, target)?;
                Some(PairEdge {
                    kind,
                    outgoing,
                    revision: edge.revision,
                    created_at_millis: to_millis(edge.created_at),
                    expires_at_millis: edge.expires_at.map(to_millis),
                })
            })
        });
        Etag::of(viewer, other, edges)
    }

    /// Accounts whose row must be inserted or updated.
    pub fn accounts_to_put(&self) -> impl Iterator<Item = (UserId, Account)> {
        self.changed().filter(|(_, account)| *account != Account::default())
    }

    /// Accounts whose row must be deleted. A row without counts and flags means the same as no row, and rows of
    /// unfollowed ids must not accumulate.
    pub fn accounts_to_drop(&self) -> impl Iterator<Item = UserId> {
        self.changed().filter(|(_, account)| *account == Account::default()).map(|(user, _)| user)
    }

    fn changed(&self) -> impl Iterator<Item = (UserId, Account)> {
        self.changed_accounts.iter().map(|user| (*user, self.account(*user)))
    }

    /// Accounts whose row and idempotency records must be deleted.
    pub fn accounts_to_erase(&self) -> impl Iterator<Item = UserId> {
        self.erased_accounts.iter().copied()
    }
}
