//! Decides the steps of jobs and of the expiry, one chunk of edges at a time. The caller loads the chunk under the lock
//! on the head, so a step that was planned on older data has no effect.

use proto::event::{EdgeKey, EdgeKind};
use time::OffsetDateTime;

use super::change::{Change, Op};
use super::graph::Graph;
use super::rules::{is_blocked, remove_edge};

/// Removes edges, live or archived.
pub fn erase_step(graph: &Graph, chunk: &[EdgeKey]) -> Vec<Change> {
    chunk.iter().filter_map(|key| remove_edge(graph, *key)).collect()
}

/// Archives edges.
pub fn archive_step(chunk: &[EdgeKey]) -> Vec<Change> {
    chunk.iter().map(|key| Change { key: *key, op: Op::Archive }).collect()
}

/// Restores archived edges whose ends both show their edges, and removes expired ones. A request to an account that has
/// become public becomes a follow.
pub fn restore_step(graph: &Graph, chunk: &[EdgeKey], now: OffsetDateTime) -> Vec<Change> {
    chunk.iter().flat_map(|key| restore(graph, *key, now)).collect()
}

fn restore(graph: &Graph, key: EdgeKey, now: OffsetDateTime) -> Vec<Change> {
    let Some(edge) = graph.archived.get(&key) else { return Vec::new() };
    let (source, target) = (graph.account(key.source), graph.account(key.target));
    let remove = Change { key, op: Op::RemoveArchived };
    if edge.expires_at.is_some_and(|at| at <= now) {
        vec![remove]
    } else if !source.state.shows_edges() || !target.state.shows_edges() {
        Vec::new()
    } else if key.kind == EdgeKind::FollowRequest && !target.private {
        vec![remove, Change::add(EdgeKey { kind: EdgeKind::Follow, ..key })]
    } else {
        vec![Change { key, op: Op::Restore }]
    }
}

/// Accepts follow requests.
pub fn accept_step(graph: &Graph, chunk: &[EdgeKey]) -> Vec<Change> {
    chunk
        .iter()
        .filter(|key| key.kind == EdgeKind::FollowRequest && graph.live.get(key).is_some())
        .flat_map(|request| {
            let follow = EdgeKey { kind: EdgeKind::Follow, ..*request };
            // A block or a follow may have been added since the request.
            let possible =
                !is_blocked(graph, request.source, request.target) && graph.live.get(&follow).is_none();
            [Some(Change::remove(*request)), possible.then(|| Change::add(follow))]
        })
        .flatten()
        .collect()
}

/// Removes expired edges; an edge whose expiry was extended stays.
pub fn expire_step(graph: &Graph, chunk: &[EdgeKey], now: OffsetDateTime) -> Vec<Change> {
    let due =
        |key: &&EdgeKey| graph.live.get(key).and_then(|edge| edge.expires_at).is_some_and(|at| at <= now);
    chunk.iter().filter(due).map(|key| Change::remove(*key)).collect()
}
