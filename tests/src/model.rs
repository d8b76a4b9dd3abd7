//! A model of the whole contract of the write side, in memory and not optimized.
//!
//! An edge of an archived account stays in place and is hidden; so archiving and restoring set a flag here, and their
//! jobs have little to do. Positions in lists are counted by steps: of two edges, the one of the later step is newer.
//! `nth` orders the edges of one step, unless the contract leaves their order open.

use std::collections::{BTreeMap, BTreeSet};

use proto::UserId;
use proto::error::Reason;
use proto::event::{EdgeKey, EdgeKind};
use proto::graph::v1::Relationship;
use proto::timestamp;
use time::OffsetDateTime;

use crate::asks::{Act, Ask, Expected};

/// The stored values of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The step that added it, and its order in that step.
    pub place: (u64, i64),
    /// Expiry; `None` for a permanent edge.
    pub expires_at: Option<OffsetDateTime>,
}

/// The result of ReplaceFollowing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// New follows.
    pub added: BTreeSet<UserId>,
    /// Removed follows and requests.
    pub removed: BTreeSet<UserId>,
    /// New requests.
    pub requested: BTreeSet<UserId>,
}

/// The result of a chunk of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Number of added edges.
    pub accepted: u32,
    /// Number of existing edges.
    pub unchanged: u32,
    /// The rejected edges, by index in the chunk.
    pub refused: Vec<(u32, Reason)>,
}

/// Changed or not, or the rule that rejects the command.
pub type Outcome = Result<bool, Reason>;

/// The state of some accounts.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// All edges, hidden or not.
    pub edges: BTreeMap<EdgeKey, Edge>,
    /// Private accounts.
    pub private: BTreeSet<UserId>,
    /// Archived accounts.
    pub archived: BTreeSet<UserId>,
    step: u64,
    nth: i64,
}

fn key(kind: EdgeKind, source: UserId, target: UserId) -> EdgeKey {
    EdgeKey { kind, source, target }
}

impl Model {
    /// Starts the next step: its edges are newer than all others.
    pub fn begin_step(&mut self) {
        self.step += 1;
        self.nth = 0;
    }

    /// The contract leaves the order of this step's edges open.
    pub fn forget_order_of_step(&mut self) {
        for edge in self.edges.values_mut().filter(|edge| edge.place.0 == self.step) {
            edge.place.1 = 0;
        }
    }

    /// Edges that are added from here on are newer than those added before.
    fn next_place(&mut self) -> (u64, i64) {
        self.nth += 1;
        (self.step, self.nth)
    }

    fn has(&self, kind: EdgeKind, source: UserId, target: UserId) -> bool {
        self.edges.contains_key(&key(kind, source, target))
    }

    fn is_blocked(&self, a: UserId, b: UserId) -> bool {
        self.has(EdgeKind::Block, a, b) || self.has(EdgeKind::Block, b, a)
    }

    /// The visible edges.
    pub fn visible(&self) -> impl Iterator<Item = (&EdgeKey, &Edge)> {
        let active = |user: &UserId| !self.archived.contains(user);
        self.edges.iter().filter(move |(key, _)| active(&key.source) && active(&key.target))
    }

    /// Sets an edge; an existing one keeps its position.
    fn put(&mut self, key: EdgeKey, expires_at: Option<OffsetDateTime>) -> bool {
        let place = match self.edges.get(&key) {
            Some(edge) => edge.place,
            None => self.next_place(),
        };
        let edge = Edge { place, expires_at };
        self.edges.insert(key, edge) != Some(edge)
    }

    fn remove(&mut self, kind: EdgeKind, source: UserId, target: UserId) -> bool {
        self.edges.remove(&key(kind, source, target)).is_some()
    }

    fn sever(&mut self, a: UserId, b: UserId) {
        for (a, b) in [(a, b), (b, a)] {
            self.remove(EdgeKind::Follow, a, b);
            self.remove(EdgeKind::FollowRequest, a, b);
        }
    }

    fn takes_part(&self, user: UserId) -> Result<(), Reason> {
        if self.archived.contains(&user) { Err(Reason::AccountArchived) } else { Ok(()) }
    }

    /// Executes a command between two accounts.
    pub fn act(&mut self, ask: &Ask) -> Outcome {
        use EdgeKind::{Block, Follow, FollowRequest, Mute};
        let (actor, other) = (ask.actor, ask.other);
        self.takes_part(actor)?;
        if matches!(ask.act, Act::Follow | Act::Mute | Act::Accept) {
            self.takes_part(other)?;
        }
        if let Some(Expected::Following(expected)) = ask.expected
            && expected != self.relationship(actor, other).following
        {
            return Err(Reason::PreconditionFailed);
        }
        match ask.act {
            Act::Follow if self.is_blocked(actor, other) => Err(Reason::Blocked),
            Act::Follow if self.has(Follow, actor, other) => Ok(false),
            Act::Follow if self.private.contains(&other) => {
                Ok(self.put(key(FollowRequest, actor, other), None))
            }
            Act::Follow => Ok(self.put(key(Follow, actor, other), None)),
            Act::Unfollow => Ok(self.remove(Follow, actor, other) | self.remove(FollowRequest, actor, other)),
            Act::RemoveFollower => Ok(self.remove(Follow, other, actor)),
            Act::Mute => Ok(self.put(key(Mute, actor, other), ask.expires_at)),
            Act::Unmute => Ok(self.remove(Mute, actor, other)),
            Act::Block => {
                self.sever(actor, other);
                Ok(self.put(key(Block, actor, other), ask.expires_at))
            }
            Act::Unblock => Ok(self.remove(Block, actor, other)),
            Act::Accept if self.remove(FollowRequest, other, actor) => {
                Ok(self.put(key(Follow, other, actor), None))
            }
            Act::Accept if self.has(Follow, other, actor) => Ok(false),
            Act::Accept => Err(Reason::RequestNotFound),
            Act::Reject => Ok(self.remove(FollowRequest, other, actor)),
            Act::Cancel => Ok(self.remove(FollowRequest, actor, other)),
        }
    }

    /// Executes all of them or none; returns the index of the failed one. An edge that existed before and exists
    /// afterwards keeps its position, even if it was removed in between.
    pub fn atomically(&mut self, asks: &[Ask]) -> Result<Vec<bool>, (usize, Reason)> {
        let before = self.clone();
        let mut changed = Vec::new();
        for (index, ask) in asks.iter().enumerate() {
            match self.act(ask) {
                Ok(one) => changed.push(one),
                Err(reason) => {
                    *self = before;
                    return Err((index, reason));
                }
            }
        }
        for (key, edge) in &mut self.edges {
            if let Some(old) = before.edges.get(key) {
                edge.place = old.place;
            }
        }
        Ok(changed)
    }

    /// Makes an account private or public; going public accepts what is pending.
    pub fn set_private(&mut self, user: UserId, private: bool) -> Outcome {
        self.takes_part(user)?;
        let changed = if private { self.private.insert(user) } else { self.private.remove(&user) };
        if changed && !private {
            self.fulfil_requests_to_public();
        }
        Ok(changed)
    }

    /// Visible requests that no longer need acceptance become follows, whose order the contract leaves open.
    fn fulfil_requests_to_public(&mut self) {
        let asks = |key: &EdgeKey| key.kind == EdgeKind::FollowRequest && !self.private.contains(&key.target);
        let pending: Vec<_> = self.visible().map(|(key, _)| *key).filter(asks).collect();
        let place = self.next_place();
        for request in pending {
            self.edges.remove(&request);
            let follow = EdgeKey { kind: EdgeKind::Follow, ..request };
            self.edges.insert(follow, Edge { place, expires_at: None });
        }
    }

    /// Replaces an account's following list.
    pub fn replace_following(
        &mut self,
        actor: UserId,
        targets: &[UserId],
        dry_run: bool,
    ) -> Result<Replaced, (usize, Reason)> {
        use EdgeKind::{Follow, FollowRequest};
        self.takes_part(actor).map_err(|reason| (0, reason))?;
        for (index, target) in targets.iter().enumerate() {
            self.takes_part(*target).map_err(|reason| (index, reason))?;
            if self.is_blocked(actor, *target) {
                return Err((index, Reason::Blocked));
            }
        }
        let before = self.clone();
        let mut replaced = Replaced::default();
        // Hidden ones stay, and are not counted.
        for link in before.visible().map(|(link, _)| link).filter(|link| link.source == actor) {
            if matches!(link.kind, Follow | FollowRequest) && !targets.contains(&link.target) {
                self.edges.remove(link);
                replaced.removed.insert(link.target);
            }
        }
        let mut seen = BTreeSet::new();
        let first_mentions: Vec<_> = targets.iter().filter(|target| seen.insert(**target)).collect();
        for target in first_mentions.into_iter().rev().filter(|target| !before.has(Follow, actor, **target)) {
            if self.private.contains(target) {
                if self.put(key(FollowRequest, actor, *target), None) {
                    replaced.requested.insert(*target);
                }
            } else {
                self.put(key(Follow, actor, *target), None);
                replaced.added.insert(*target);
            }
        }
        if dry_run {
            *self = before;
        }
        Ok(replaced)
    }

    /// Imports edges of one kind, without acceptance.
    pub fn import(
        &mut self,
        kind: EdgeKind,
        edges: &[(UserId, UserId)],
        expires_at: Option<OffsetDateTime>,
    ) -> Imported {
        let mut imported = Imported::default();
        for ((source, target), index) in edges.iter().copied().zip(0..) {
            let possible = self.takes_part(source).and_then(|()| self.takes_part(target));
            let blocked = kind == EdgeKind::Follow && self.is_blocked(source, target);
            match possible {
                Err(reason) => imported.refused.push((index, reason)),
                Ok(()) if blocked => imported.refused.push((index, Reason::Blocked)),
                Ok(()) if self.has(kind, source, target) => imported.unchanged += 1,
                Ok(()) => {
                    if kind == EdgeKind::Block {
                        self.sever(source, target);
                    } else if kind == EdgeKind::Follow {
                        self.remove(EdgeKind::FollowRequest, source, target);
                    }
                    self.put(key(kind, source, target), expires_at);
                    imported.accepted += 1;
                }
            }
        }
        imported
    }

    /// Archives or restores an account. Accounts to which it sent requests may be public by now.
    pub fn set_archived(&mut self, user: UserId, archived: bool) -> bool {
        let changed = if archived { self.archived.insert(user) } else { self.archived.remove(&user) };
        self.fulfil_requests_to_public();
        changed
    }

    /// Erases an account; returns whether it had any data.
    pub fn erase(&mut self, user: UserId) -> bool {
        let edges = self.edges.len();
        self.edges.retain(|key, _| key.source != user && key.target != user);
        let (private, archived) = (self.private.remove(&user), self.archived.remove(&user));
        private || archived || edges != self.edges.len()
    }

    /// A pair as responses contain it, without revision and dates.
    pub fn relationship(&self, viewer: UserId, other: UserId) -> Relationship {
        use EdgeKind::{Block, Follow, FollowRequest, Mute};
        let seen: BTreeMap<_, _> = self.visible().collect();
        let edge = |kind, source, target| seen.get(&key(kind, source, target)).copied();
        let until = |kind| edge(kind, viewer, other).and_then(|edge| edge.expires_at);
        Relationship {
            user_id: other.to_string(),
            following: edge(Follow, viewer, other).is_some(),
            followed_by: edge(Follow, other, viewer).is_some(),
            requested: edge(FollowRequest, viewer, other).is_some(),
            request_received: edge(FollowRequest, other, viewer).is_some(),
            muting: edge(Mute, viewer, other).is_some(),
            muting_until: until(Mute).map(timestamp::to_proto),
            blocking: edge(Block, viewer, other).is_some(),
            blocking_until: until(Block).map(timestamp::to_proto),
            blocked_by: edge(Block, other, viewer).is_some(),
            mutual: [(viewer, other), (other, viewer)].iter().all(|(a, b)| edge(Follow, *a, *b).is_some()),
            ..Relationship::default()
        }
    }
}
