//! The net effect of several changes of the same edges.

use std::collections::BTreeMap;

use proto::event::EdgeKey;

use super::change::{Change, Edge, Op};
use super::graph::Graph;
use super::layer::Layer;

/// Returns the changes from the loaded graph to the current one. An edge that was removed and added again has none. New
/// edges are in the order of their addition; a later change of their expiry does not move them.
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
            let live = net_change(&graph.live, key, LIVE);
            let archived = net_change(&graph.archived, key, ARCHIVED);
            [live, archived].into_iter().flatten()
        })
        .collect()
}

/// The operations of one layer.
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

fn net_change(layer: &Layer, key: EdgeKey, ops: &Ops) -> Option<Change> {
    let op = match (layer.before(&key), layer.get(&key)) {
        (None, Some(edge)) => (ops.add)(*edge),
        (Some(before), Some(edge)) if before.expires_at != edge.expires_at => (ops.set)(*edge),
        (Some(_), None) => ops.remove,
        _ => return None,
    };
    Some(Change { key, op })
}
