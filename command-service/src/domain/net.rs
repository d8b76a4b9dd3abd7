//! What is left of several changes of the same edges.

use std::collections::BTreeMap;

use proto::event::EdgeKey;

use super::change::{Change, Edge, Op};
use super::graph::Graph;
use super::layer::Layer;

/// The changes that lead from what a graph was loaded as to what it is now. An edge that
/// ended and came back is as it was. New edges come in the order in which they came to
/// be: one that was only renewed later keeps its place.
pub(super) fn net(graph: &Graph, changes: &[Change]) -> Vec<Change> {
    let mut places: BTreeMap<EdgeKey, usize> = BTreeMap::new();
    for (place, change) in changes.iter().enumerate() {
        let adds = matches!(change.op, Op::Add { .. } | Op::AddArchived { .. });
        let known = places.entry(change.key).or_insert(place);
        if adds {
            *known = place;
        }
    }
    let mut keys: Vec<(usize, EdgeKey)> = places.into_iter().map(|(key, place)| (place, key)).collect();
    keys.sort_unstable();
    keys.into_iter()
        .flat_map(|(_, key)| {
            let live = left_of(graph.live_edges(), key, LIVE);
            let archived = left_of(graph.archived_edges(), key, ARCHIVED);
            [live, archived].into_iter().flatten()
        })
        .collect()
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
