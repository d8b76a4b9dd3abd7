//! The part of the graph that a batch sees, and how changes alter it.
//!
//! Holds the edges and accounts that were loaded, applies decided changes to them,
//! keeps the counts, and tells at the end what differs from what was loaded.

use std::collections::{BTreeMap, BTreeSet};

use proto::event::{AccountCounts, EdgeChange, EdgeKey, EdgeKind, EdgeOp};
use proto::{Position, Revision, UserId};
use time::OffsetDateTime;

/// A live edge.
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

/// Whether an account takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountState {
    /// It does.
    #[default]
    Active,
    /// Its edges are hidden.
    Archived,
    /// It is on its way out; nothing new may touch it.
    Erasing,
}

/// Counts and flags of an account. An account without a row is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// How many follow it.
    pub followers: u64,
    /// How many it follows.
    pub following: u64,
    /// How many it has muted.
    pub muting: u64,
    /// How many it has blocked.
    pub blocking: u64,
    /// Its pending requests.
    pub requests_sent: u64,
    /// Pending requests to it.
    pub requests_received: u64,
    /// Whether it takes part.
    pub state: AccountState,
}

/// A decided change of one edge, before it has a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The edge.
    pub key: EdgeKey,
    /// What happens to it. The values of an edge that is removed are taken from
    /// the graph.
    pub op: EdgeOp,
    /// Its date, for an edge that is added; the time of the commit when absent.
    pub created_at: Option<OffsetDateTime>,
    /// When it runs out, for an edge that is added or updated.
    pub expires_at: Option<OffsetDateTime>,
}

/// The revision and time that changes are committed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The revision.
    pub revision: Revision,
    /// The time of the transaction.
    pub time: OffsetDateTime,
}

/// The loaded part of the graph, with the changes of this batch applied.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    edges: BTreeMap<EdgeKey, Edge>,
    accounts: BTreeMap<UserId, Account>,
    loaded: BTreeMap<EdgeKey, Edge>,
    changed_edges: BTreeSet<EdgeKey>,
    changed_accounts: BTreeSet<UserId>,
}

impl Graph {
    /// The graph as it was loaded.
    pub fn new(edges: BTreeMap<EdgeKey, Edge>, accounts: BTreeMap<UserId, Account>) -> Self {
        Self { loaded: edges.clone(), edges, accounts, ..Self::default() }
    }

    /// An edge, if it is there.
    pub fn edge(&self, kind: EdgeKind, source: UserId, target: UserId) -> Option<&Edge> {
        self.edges.get(&EdgeKey { kind, source, target })
    }

    /// An account.
    pub fn account(&self, user: UserId) -> Account {
        self.accounts.get(&user).copied().unwrap_or_default()
    }

    /// Applies the changes of one event; answers them as the event tells them, with
    /// the counts after it.
    pub fn commit(&mut self, changes: &[Change], stamp: Stamp) -> (Vec<EdgeChange>, Vec<AccountCounts>) {
        let mut touched = BTreeSet::new();
        let told = changes
            .iter()
            .enumerate()
            .map(|(index, change)| {
                touched.extend([change.key.source, change.key.target]);
                self.apply(change, Position::new(stamp.revision, index), stamp)
            })
            .collect();
        let counts = touched.iter().map(|user| self.counts(*user)).collect();
        self.changed_accounts.append(&mut touched);
        (told, counts)
    }

    fn apply(&mut self, change: &Change, next: Position, stamp: Stamp) -> EdgeChange {
        let before = self.edges.get(&change.key).copied();
        let edge = match change.op {
            EdgeOp::Removed => before,
            EdgeOp::Updated => {
                before.map(|edge| Edge { expires_at: change.expires_at, revision: stamp.revision, ..edge })
            }
            EdgeOp::Added | EdgeOp::Unspecified => None,
        }
        .unwrap_or(Edge {
            created_at: change.created_at.unwrap_or(stamp.time),
            expires_at: change.expires_at,
            position: next,
            revision: stamp.revision,
        });
        if change.op == EdgeOp::Removed {
            self.edges.remove(&change.key);
        } else {
            self.edges.insert(change.key, edge);
        }
        self.count(change.key, before.is_some(), change.op != EdgeOp::Removed);
        self.changed_edges.insert(change.key);
        EdgeChange {
            key: change.key,
            op: change.op,
            position: edge.position,
            created_at: edge.created_at,
            expires_at: edge.expires_at,
        }
    }

    fn count(&mut self, key: EdgeKey, was: bool, is: bool) {
        if was == is {
            return;
        }
        let step = |count: &mut u64| *count = if is { *count + 1 } else { count.saturating_sub(1) };
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

    /// The edges that must be written: those that differ from what was loaded.
    pub fn edges_to_put(&self) -> impl Iterator<Item = (&EdgeKey, &Edge)> {
        self.changed_edges
            .iter()
            .filter_map(|key| self.edges.get_key_value(key))
            .filter(|(key, edge)| self.loaded.get(*key) != Some(*edge))
    }

    /// The edges that must be deleted: those that were loaded and are gone.
    pub fn edges_to_delete(&self) -> impl Iterator<Item = &EdgeKey> {
        self.changed_edges
            .iter()
            .filter(|key| !self.edges.contains_key(*key) && self.loaded.contains_key(*key))
    }

    /// The accounts whose row must be written.
    pub fn accounts_to_put(&self) -> impl Iterator<Item = (UserId, Account)> {
        self.changed_accounts.iter().map(|user| (*user, self.account(*user)))
    }
}
