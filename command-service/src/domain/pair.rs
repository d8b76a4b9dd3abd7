//! Decides a command of one account about another.

use proto::UserId;
use proto::event::{EdgeKey, EdgeKind};
use time::OffsetDateTime;

use super::account::AccountState;
use super::change::{Change, Op};
use super::command::{Action, Expects, PairCommand};
use super::graph::Graph;
use super::refusal::Refusal;
use super::rules::{Rules, check_active, check_expiry, edges_removed_by_block, is_blocked, remove_edge};

/// Changes of a command; empty if the graph already satisfies it.
pub(super) fn decide_pair(
    graph: &Graph,
    command: &PairCommand,
    rules: &Rules,
) -> Result<Vec<Change>, Refusal> {
    let PairCommand { actor, other, action, expects } = *command;
    check_active(graph, actor)?;
    match check_active(graph, other) {
        Err(Refusal::Archived(_)) if action.is_allowed_on_archived() => {}
        outcome => outcome?,
    }
    if let Some(expects) = expects {
        check_precondition(graph, actor, other, expects)?;
    }
    let pair = Pair { graph, actor, other };
    match action {
        Action::Follow => pair.follow(rules),
        Action::Unfollow => {
            Ok(pair.remove_all(&[pair.to(EdgeKind::Follow), pair.to(EdgeKind::FollowRequest)]))
        }
        Action::RemoveFollower => Ok(pair.remove_all(&[pair.from(EdgeKind::Follow)])),
        Action::Mute { expires_at } => {
            check_expiry(expires_at, rules.now)?;
            Ok(pair.set(EdgeKind::Mute, expires_at).into_iter().collect())
        }
        Action::Unmute => Ok(pair.remove_all(&[pair.to(EdgeKind::Mute)])),
        Action::Block { expires_at } => {
            check_expiry(expires_at, rules.now)?;
            let mut changes = pair.remove_all(&edges_removed_by_block(actor, other));
            changes.extend(pair.set(EdgeKind::Block, expires_at));
            Ok(changes)
        }
        Action::Unblock => Ok(pair.remove_all(&[pair.to(EdgeKind::Block)])),
        Action::AcceptRequest => pair.accept(),
        Action::RejectRequest => Ok(pair.remove_all(&[pair.from(EdgeKind::FollowRequest)])),
        Action::CancelRequest => Ok(pair.remove_all(&[pair.to(EdgeKind::FollowRequest)])),
    }
}

fn check_precondition(graph: &Graph, actor: UserId, other: UserId, expects: Expects) -> Result<(), Refusal> {
    let holds = match expects {
        Expects::Etag(expected) => expected == Some(graph.pair_etag(actor, other)),
        Expects::Following(expected) => expected == graph.edge(EdgeKind::Follow, actor, other).is_some(),
    };
    if holds { Ok(()) } else { Err(Refusal::NotAsExpected { actor, other }) }
}

struct Pair<'g> {
    graph: &'g Graph,
    actor: UserId,
    other: UserId,
}

impl Pair<'_> {
    fn to(&self, kind: EdgeKind) -> EdgeKey {
        EdgeKey { kind, source: self.actor, target: self.other }
    }

    fn from(&self, kind: EdgeKind) -> EdgeKey {
        EdgeKey { kind, source: self.other, target: self.actor }
    }

    fn remove_all(&self, keys: &[EdgeKey]) -> Vec<Change> {
        keys.iter().filter_map(|key| remove_edge(self.graph, *key)).collect()
    }

    fn follow(&self, rules: &Rules) -> Result<Vec<Change>, Refusal> {
        if is_blocked(self.graph, self.actor, self.other) {
            return Err(Refusal::Blocked);
        }
        let (follow, request) = (self.to(EdgeKind::Follow), self.to(EdgeKind::FollowRequest));
        if self.graph.live.get(&follow).is_some() {
            return Ok(vec![]);
        }
        let private = self.graph.account(self.other).private;
        if self.graph.live.get(&request).is_some() {
            // If the account has become public, its job that accepts all requests has not reached this one yet.
            return Ok(if private { vec![] } else { vec![Change::remove(request), Change::add(follow)] });
        }
        let account = self.graph.account(self.actor);
        if rules.follow_cap.is_reached(&account) {
            return Err(Refusal::FollowCap { user: self.actor, cap: rules.follow_cap.of(&account) });
        }
        Ok(vec![Change::add(if private { request } else { follow })])
    }

    fn accept(&self) -> Result<Vec<Change>, Refusal> {
        let (follow, request) = (self.from(EdgeKind::Follow), self.from(EdgeKind::FollowRequest));
        if self.graph.live.get(&request).is_some() {
            return Ok(vec![Change::remove(request), Change::add(follow)]);
        }
        if self.graph.live.get(&follow).is_some() { Ok(vec![]) } else { Err(Refusal::NoRequest) }
    }

    /// Adds an edge with this expiry, or changes the expiry of the existing one. An edge to an archived account is
    /// archived from the start.
    fn set(&self, kind: EdgeKind, expires_at: Option<OffsetDateTime>) -> Option<Change> {
        let key = self.to(kind);
        let hidden = self.graph.account(self.other).state != AccountState::Active;
        let op = match (self.graph.live.get(&key), self.graph.archived.get(&key)) {
            (Some(edge), _) if edge.expires_at == expires_at => return None,
            (Some(_), _) => Op::SetExpiry(expires_at),
            (None, Some(edge)) if edge.expires_at == expires_at => return None,
            (None, Some(_)) => Op::SetArchivedExpiry(expires_at),
            (None, None) if hidden => Op::AddArchived { expires_at },
            (None, None) => Op::Add { created_at: None, expires_at },
        };
        Some(Change { key, op })
    }
}
