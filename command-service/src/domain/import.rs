//! Decides a chunk of an import.

use std::collections::BTreeSet;

use proto::error::Reason;
use proto::event::{EdgeKey, EdgeKind, MAX_EDGES};

use super::change::{Change, Op};
use super::command::{ImportEdge, ImportReport, OnConflict, RefusedEdge};
use super::decision::{Decision, Report};
use super::graph::Graph;
use super::refusal::Refusal;
use super::rules::{Rules, check_active, check_expiry, edges_removed_by_block, is_blocked, remove_edge};

/// Decides each edge on its own: a refused edge does not affect the others.
pub(super) fn decide_import(
    graph: &Graph,
    edges: &[ImportEdge],
    on_conflict: OnConflict,
    rules: &Rules,
) -> Decision {
    let mut report = ImportReport::default();
    let mut changes = Vec::new();
    // Two accounts may block each other in the same chunk.
    let (mut seen, mut removed_before) = (BTreeSet::new(), BTreeSet::new());
    for edge in edges {
        let exists = graph.live.get(&edge.key).is_some() || seen.contains(&edge.key);
        let refused = match check_edge(graph, edge, rules) {
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
        let removed: Vec<Change> = removed_by(edge.key)
            .filter(|key| !removed_before.contains(key))
            .filter_map(|key| remove_edge(graph, key))
            .collect();
        if changes.len() + removed.len() >= MAX_EDGES {
            // The event is full; the caller sends this edge again, in the next command.
            report.refused.push(RefusedEdge { index: edge.index, reason: Reason::TooManyItems });
            continue;
        }
        report.accepted += 1;
        seen.insert(edge.key);
        removed_before.extend(removed.iter().map(|change| change.key));
        changes.extend(removed);
        let op = Op::Add { created_at: edge.created_at, expires_at: edge.expires_at };
        changes.push(Change { key: edge.key, op });
    }
    Decision { changes, report: Report::Import(report), ..Decision::default() }
}

/// Edges that an imported edge replaces. An imported follow needs no consent and replaces a pending request.
fn removed_by(key: EdgeKey) -> impl Iterator<Item = EdgeKey> {
    let by_block = edges_removed_by_block(key.source, key.target)
        .into_iter()
        .filter(move |_| key.kind == EdgeKind::Block);
    let request = EdgeKey { kind: EdgeKind::FollowRequest, ..key };
    by_block.chain((key.kind == EdgeKind::Follow).then_some(request))
}

fn check_edge(graph: &Graph, edge: &ImportEdge, rules: &Rules) -> Result<(), Refusal> {
    check_active(graph, edge.key.source)?;
    check_active(graph, edge.key.target)?;
    if edge.key.kind == EdgeKind::Follow && is_blocked(graph, edge.key.source, edge.key.target) {
        return Err(Refusal::Blocked);
    }
    check_expiry(edge.expires_at, rules.now)
}
