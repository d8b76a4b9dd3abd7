//! What is left of several changes of the same edges.

use std::collections::BTreeSet;

use proto::event::EdgeKey;

use super::change::{Change, Edge, Op};
use super::graph::Graph;
use super::layer::Layer;

/// The changes that lead from what a graph was loaded as to what it is now, in the
/// order in which each edge was last changed. An edge that ended and came back is as
/// it was.
pub(super) fn net(graph: &Graph, changes: &[Change]) -> Vec<Change> {
    let mut seen = BTreeSet::new();
    let mut left: Vec<Change> = changes
        .iter()
        .rev()
        .filter(|change| seen.insert(change.key))
        .flat_map(|change| {
            let live = left_of(graph.live_edges(), change.key, LIVE);
            let archived = left_of(graph.archived_edges(), change.key, ARCHIVED);
            [live, archived].into_iter().flatten()
        })
        .collect();
    left.reverse();
    left
}

/// The three operations of one layer.
struct Ops {
    add: fn(Edge) -> Op,
    set: fn(Edge) -> Op,
    remove: Op,
}

const LIVE: &Ops = &Ops {
    add: |edge| Op::Add { created_at: None, expires_at: edge.expires_at },
    set: |edge| Op::SetExpiry(edge.expires_at),
    remove: Op::Remove,
};

const ARCHIVED: &Ops = &Ops {
    add: |edge| Op::AddArchived { expires_at: edge.expires_at },
    set: |edge| Op::SetArchivedExpiry(edge.expires_at),
    remove: Op::RemoveArchived,
};

fn left_of(layer: &Layer, key: EdgeKey, ops: &Ops) -> Option<Change> {
    let op = match (layer.before(&key), layer.get(&key)) {
        (None, Some(edge)) => (ops.add)(*edge),
        (Some(before), Some(edge)) if before.expires_at != edge.expires_at => (ops.set)(*edge),
        (Some(_), None) => ops.remove,
        _ => return None,
    };
    Some(Change { key, op })
}
