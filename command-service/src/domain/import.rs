//! What a chunk of an import does.

use std::collections::BTreeSet;

use proto::error::Reason;
use proto::event::{EdgeKey, EdgeKind, MAX_EDGES};

use super::change::{Change, Op};
use super::command::{ImportEdge, ImportReport, OnConflict, RefusedEdge};
use super::decide::{Decision, Report, Rules, takes_part};
use super::graph::Graph;
use super::pair::{blocked, check_expiry, drop_edge, severed_by_block};
use super::refusal::Refusal;

/// Each edge stands for itself: one that is refused does not hold up the others.
pub(super) fn import(
    graph: &Graph,
    edges: &[ImportEdge],
    on_conflict: OnConflict,
    rules: &Rules,
) -> Decision {
    let mut report = ImportReport::default();
    let mut changes = Vec::new();
    // Two accounts may block each other in the same chunk.
    let (mut seen, mut ended_before) = (BTreeSet::new(), BTreeSet::new());
    for edge in edges {
        let exists = graph.live(&edge.key).is_some() || seen.contains(&edge.key);
        let refused = match may_be(graph, edge, rules) {
            Err(refusal) => Some(refusal.reason()),
            Ok(()) if exists && on_conflict == OnConflict::Fail => Some(Reason::EdgeExists),
            Ok(()) => None,
        };
        if let Some(reason) = refused {
            report.refused.push(RefusedEdge { index: edge.index, reason });
            continue;
        }
        if exists {
            report.unchanged += 1;
            continue;
        }
        let ended: Vec<Change> = ended_by(edge.key)
            .filter(|key| !ended_before.contains(key))
            .filter_map(|key| drop_edge(graph, key))
            .collect();
        if changes.len() + ended.len() >= MAX_EDGES {
            // More ends here than one event holds; the caller puts this one into another.
            report.refused.push(RefusedEdge { index: edge.index, reason: Reason::TooManyItems });
            continue;
        }
        report.accepted += 1;
        seen.insert(edge.key);
        ended_before.extend(ended.iter().map(|change| change.key));
        changes.extend(ended);
        let op = Op::Add { created_at: edge.created_at, expires_at: edge.expires_at };
        changes.push(Change { key: edge.key, op });
    }
    Decision { changes, report: Report::Import(report), ..Decision::default() }
}

/// What cannot stay beside an edge. A follow by import needs no consent: a pending
/// request is fulfilled.
fn ended_by(key: EdgeKey) -> impl Iterator<Item = EdgeKey> {
    let by_block =
        severed_by_block(key.source, key.target).into_iter().filter(move |_| key.kind == EdgeKind::Block);
    let request = EdgeKey { kind: EdgeKind::FollowRequest, ..key };
    by_block.chain((key.kind == EdgeKind::Follow).then_some(request))
}

fn may_be(graph: &Graph, edge: &ImportEdge, rules: &Rules) -> Result<(), Refusal> {
    takes_part(graph, edge.key.source)?;
    takes_part(graph, edge.key.target)?;
    if edge.key.kind == EdgeKind::Follow && blocked(graph, edge.key.source, edge.key.target) {
        return Err(Refusal::Blocked);
    }
    check_expiry(edge.expires_at, rules.now)
}
