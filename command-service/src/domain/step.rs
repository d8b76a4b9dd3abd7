//! What one step of a job, and the expiry of edges, does. Each sees one chunk of
//! edges; what must be so for it to go on is decided anew under the lock.

use proto::event::{EdgeKey, EdgeKind};
use time::OffsetDateTime;

use super::change::{Change, Op};
use super::graph::Graph;
use super::pair::blocked;

/// Erases edges, live or hidden.
pub fn erase_step(graph: &Graph, chunk: &[EdgeKey]) -> Vec<Change> {
    chunk.iter().filter_map(|key| super::pair::drop_edge(graph, *key)).collect()
}

/// Hides edges.
pub fn archive_step(chunk: &[EdgeKey]) -> Vec<Change> {
    chunk.iter().map(|key| Change { key: *key, op: Op::Archive }).collect()
}

/// Shows edges again whose ends both take part, and forgets those that have run out. A
/// request to an account that has become public is fulfilled.
pub fn restore_step(graph: &Graph, chunk: &[EdgeKey], now: OffsetDateTime) -> Vec<Change> {
    chunk.iter().flat_map(|key| restore(graph, *key, now)).collect()
}

fn restore(graph: &Graph, key: EdgeKey, now: OffsetDateTime) -> Vec<Change> {
    let Some(edge) = graph.archived(&key) else { return Vec::new() };
    let (source, target) = (graph.account(key.source), graph.account(key.target));
    let forget = Change { key, op: Op::RemoveArchived };
    if edge.expires_at.is_some_and(|at| at <= now) {
        vec![forget]
    } else if !source.state.shows_edges() || !target.state.shows_edges() {
        Vec::new()
    } else if key.kind == EdgeKind::FollowRequest && !target.private {
        vec![forget, Change::add(EdgeKey { kind: EdgeKind::Follow, ..key })]
    } else {
        vec![Change { key, op: Op::Restore }]
    }
}

/// Accepts requests.
pub fn accept_step(graph: &Graph, chunk: &[EdgeKey]) -> Vec<Change> {
    chunk
        .iter()
        .filter(|key| key.kind == EdgeKind::FollowRequest && graph.live(key).is_some())
        .flat_map(|request| {
            let follow = EdgeKey { kind: EdgeKind::Follow, ..*request };
            // Never across a block, and never twice, whatever came between.
            let possible = !blocked(graph, request.source, request.target) && graph.live(&follow).is_none();
            [Some(Change::remove(*request)), possible.then(|| Change::add(follow))]
        })
        .flatten()
        .collect()
}

/// Ends what has run out; what was renewed stays.
pub fn expire_step(graph: &Graph, chunk: &[EdgeKey], now: OffsetDateTime) -> Vec<Change> {
    let due = |key: &&EdgeKey| graph.live(key).and_then(|edge| edge.expires_at).is_some_and(|at| at <= now);
    chunk.iter().filter(due).map(|key| Change::remove(*key)).collect()
}
