//! What one account does about another.

use proto::UserId;
use proto::event::{EdgeKey, EdgeKind};
use time::{Duration, OffsetDateTime};

use super::account::AccountState;
use super::change::{Change, Op};
use super::command::{Action, Expects, PairCommand};
use super::decide::{Rules, takes_part};
use super::graph::Graph;
use super::refusal::Refusal;

/// The longest that a mute or a block with an end lasts: ten years.
const LONGEST: Duration = Duration::days(3_653);

/// The changes of a command; none if it was obeyed already.
pub(super) fn decide_pair(
    graph: &Graph,
    command: &PairCommand,
    rules: &Rules,
) -> Result<Vec<Change>, Refusal> {
    let PairCommand { actor, other, action, expects } = *command;
    takes_part(graph, actor)?;
    match takes_part(graph, other) {
        Err(Refusal::Archived(_)) if action.is_allowed_on_archived() => {}
        outcome => outcome?,
    }
    if let Some(expects) = expects {
        check(graph, actor, other, expects)?;
    }
    let pair = Pair { graph, actor, other };
    match action {
        Action::Follow => pair.follow(rules),
        Action::Unfollow => Ok(pair.drop_all(&[pair.to(EdgeKind::Follow), pair.to(EdgeKind::FollowRequest)])),
        Action::RemoveFollower => Ok(pair.drop_all(&[pair.from(EdgeKind::Follow)])),
        Action::Mute { expires_at } => {
            check_expiry(expires_at, rules.now)?;
            Ok(pair.set(EdgeKind::Mute, expires_at).into_iter().collect())
        }
        Action::Unmute => Ok(pair.drop_all(&[pair.to(EdgeKind::Mute)])),
        Action::Block { expires_at } => {
            check_expiry(expires_at, rules.now)?;
            let mut changes = pair.drop_all(&severed_by_block(actor, other));
            changes.extend(pair.set(EdgeKind::Block, expires_at));
            Ok(changes)
        }
        Action::Unblock => Ok(pair.drop_all(&[pair.to(EdgeKind::Block)])),
        Action::AcceptRequest => pair.accept(),
        Action::RejectRequest => Ok(pair.drop_all(&[pair.from(EdgeKind::FollowRequest)])),
        Action::CancelRequest => Ok(pair.drop_all(&[pair.to(EdgeKind::FollowRequest)])),
    }
}

/// What a block ends: follows and requests in both directions.
pub(super) fn severed_by_block(a: UserId, b: UserId) -> [EdgeKey; 4] {
    let key = |kind, source, target| EdgeKey { kind, source, target };
    [
        key(EdgeKind::Follow, a, b),
        key(EdgeKind::Follow, b, a),
        key(EdgeKind::FollowRequest, a, b),
        key(EdgeKind::FollowRequest, b, a),
    ]
}

/// The end of an edge, be it live or in the archive.
pub(super) fn drop_edge(graph: &Graph, key: EdgeKey) -> Option<Change> {
    if graph.live(&key).is_some() {
        Some(Change::remove(key))
    } else {
        graph.archived(&key).map(|_| Change { key, op: Op::RemoveArchived })
    }
}

/// One of the two has blocked the other.
pub(super) fn blocked(graph: &Graph, a: UserId, b: UserId) -> bool {
    graph.edge(EdgeKind::Block, a, b).is_some() || graph.edge(EdgeKind::Block, b, a).is_some()
}

/// An expiry lies in the future, and not too far.
pub(super) fn check_expiry(expires_at: Option<OffsetDateTime>, now: OffsetDateTime) -> Result<(), Refusal> {
    match expires_at {
        Some(at) if at <= now => Err(Refusal::ExpiryPast),
        Some(at) if at > now + LONGEST => Err(Refusal::ExpiryTooFar),
        _ => Ok(()),
    }
}

fn check(graph: &Graph, actor: UserId, other: UserId, expects: Expects) -> Result<(), Refusal> {
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

    fn drop_all(&self, keys: &[EdgeKey]) -> Vec<Change> {
        keys.iter().filter_map(|key| drop_edge(self.graph, *key)).collect()
    }

    fn follow(&self, rules: &Rules) -> Result<Vec<Change>, Refusal> {
        if blocked(self.graph, self.actor, self.other) {
            return Err(Refusal::Blocked);
        }
        let (follow, request) = (self.to(EdgeKind::Follow), self.to(EdgeKind::FollowRequest));
        if self.graph.live(&follow).is_some() {
            return Ok(vec![]);
        }
        let private = self.graph.account(self.other).private;
        if self.graph.live(&request).is_some() {
            // It was asked while the account was private; the job that accepts all
            // requests of an account that went public has not come to it yet.
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
        if self.graph.live(&request).is_some() {
            return Ok(vec![Change::remove(request), Change::add(follow)]);
        }
        if self.graph.live(&follow).is_some() { Ok(vec![]) } else { Err(Refusal::NoRequest) }
    }

    /// An edge with this expiry: a new one, or another expiry of the one that is there.
    /// With an archived account it comes to be hidden.
    fn set(&self, kind: EdgeKind, expires_at: Option<OffsetDateTime>) -> Option<Change> {
        let key = self.to(kind);
        let hidden = self.graph.account(self.other).state != AccountState::Active;
        let op = match (self.graph.live(&key), self.graph.archived(&key)) {
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
