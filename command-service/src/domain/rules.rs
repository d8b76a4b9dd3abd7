//! Rules and predicates that several decisions share.

use proto::UserId;
use proto::event::{EdgeKey, EdgeKind};
use time::{Duration, OffsetDateTime};

use super::account::{AccountState, FollowCap};
use super::change::{Change, Op};
use super::graph::Graph;
use super::refusal::Refusal;

/// The longest duration of a mute or a block with an end: ten years.
const LONGEST_EXPIRY: Duration = Duration::days(3_653);

/// Inputs to a decision other than the graph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Later dates are in the future.
    pub now: OffsetDateTime,
    /// How many accounts one account may follow.
    pub follow_cap: FollowCap,
}

/// Refuses an account that is not active.
pub fn check_active(graph: &Graph, user: UserId) -> Result<(), Refusal> {
    check_active_state(user, graph.account(user).state)
}

/// Refuses an account in any state but [`AccountState::Active`].
pub(super) fn check_active_state(user: UserId, state: AccountState) -> Result<(), Refusal> {
    match state {
        AccountState::Active => Ok(()),
        AccountState::Archived | AccountState::Restoring => Err(Refusal::Archived(user)),
        AccountState::Erasing => Err(Refusal::Erasing(user)),
    }
}

/// Refuses an expiry that is not in the future, or too far in it.
pub(super) fn check_expiry(expires_at: Option<OffsetDateTime>, now: OffsetDateTime) -> Result<(), Refusal> {
    match expires_at {
        Some(at) if at <= now => Err(Refusal::ExpiryPast),
        Some(at) if at > now + LONGEST_EXPIRY => Err(Refusal::ExpiryTooFar),
        _ => Ok(()),
    }
}

/// Whether one of two accounts has blocked the other.
pub(super) fn is_blocked(graph: &Graph, a: UserId, b: UserId) -> bool {
    graph.edge(EdgeKind::Block, a, b).is_some() || graph.edge(EdgeKind::Block, b, a).is_some()
}

/// Edges that a block removes: follows and requests in both directions.
pub(super) fn edges_removed_by_block(a: UserId, b: UserId) -> [EdgeKey; 4] {
    let key = |kind, source, target| EdgeKey { kind, source, target };
    [
        key(EdgeKind::Follow, a, b),
        key(EdgeKind::Follow, b, a),
        key(EdgeKind::FollowRequest, a, b),
        key(EdgeKind::FollowRequest, b, a),
    ]
}

/// Removes an edge, live or archived; `None` if it does not exist.
pub(super) fn remove_edge(graph: &Graph, key: EdgeKey) -> Option<Change> {
    if graph.live.get(&key).is_some() {
        Some(Change::remove(key))
    } else {
        graph.archived.get(&key).map(|_| Change { key, op: Op::RemoveArchived })
    }
}
