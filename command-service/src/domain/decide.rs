//! What a command does, given the graph.

use std::collections::BTreeSet;

use proto::UserId;
use proto::error::Reason;
use proto::event::{EdgeKey, EdgeKind, EdgeOp};

use super::command::{Command, ImportEdge, ImportReport, OnConflict, RefusedEdge};
use super::graph::{AccountState, Change, Graph};

/// What a command changes. No changes: it was obeyed already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The changes, in the order of their positions; no edge twice.
    pub changes: Vec<Change>,
    /// For an import: what became of the chunk.
    pub import: ImportReport,
}

/// A rule that stands against a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One of the two has blocked the other.
    #[error("one of the two accounts has blocked the other")]
    Blocked,
    /// An account is archived.
    #[error("the account {0} is archived")]
    Archived(UserId),
    /// An account is being erased.
    #[error("the account {0} is being erased")]
    Erasing(UserId),
}

impl Refusal {
    /// The reason that clients get.
    pub fn reason(self) -> Reason {
        match self {
            Self::Blocked => Reason::Blocked,
            Self::Archived(_) => Reason::AccountArchived,
            Self::Erasing(_) => Reason::AccountErasing,
        }
    }
}

/// Decides a command. Says nothing about revisions or time.
pub fn decide(graph: &Graph, command: &Command) -> Result<Decision, Refusal> {
    match command {
        Command::Follow { actor, target } => {
            let key = EdgeKey { kind: EdgeKind::Follow, source: *actor, target: *target };
            may_connect(graph, key)?;
            let changes = if has(graph, key) { vec![] } else { vec![added(key, None)] };
            Ok(Decision { changes, ..Decision::default() })
        }
        Command::Unfollow { actor, target } => {
            // Others may always let go of an archived account, but it acts no more itself.
            takes_part(graph, *actor)?;
            let changes = [EdgeKind::Follow, EdgeKind::FollowRequest]
                .map(|kind| EdgeKey { kind, source: *actor, target: *target })
                .into_iter()
                .filter(|key| has(graph, *key))
                .map(|key| Change { key, op: EdgeOp::Removed, created_at: None, expires_at: None })
                .collect();
            Ok(Decision { changes, ..Decision::default() })
        }
        Command::Import { edges, on_conflict } => Ok(import(graph, edges, *on_conflict)),
    }
}

/// Each edge stands for itself: one that is refused does not hold up the others.
fn import(graph: &Graph, edges: &[ImportEdge], on_conflict: OnConflict) -> Decision {
    let mut decision = Decision::default();
    let mut seen = BTreeSet::new();
    for edge in edges {
        let exists = has(graph, edge.key) || !seen.insert(edge.key);
        let refused = match may_connect(graph, edge.key) {
            Err(refusal) => Some(refusal.reason()),
            Ok(()) if exists && on_conflict == OnConflict::Fail => Some(Reason::EdgeExists),
            Ok(()) => None,
        };
        if let Some(reason) = refused {
            decision.import.refused.push(RefusedEdge { index: edge.index, reason });
        } else if exists {
            decision.import.unchanged += 1;
        } else {
            decision.import.accepted += 1;
            decision.changes.push(added(edge.key, Some(edge)));
        }
    }
    decision
}

fn added(key: EdgeKey, import: Option<&ImportEdge>) -> Change {
    Change { key, op: EdgeOp::Added, created_at: import.and_then(|edge| edge.created_at), expires_at: None }
}

fn has(graph: &Graph, key: EdgeKey) -> bool {
    graph.edge(key.kind, key.source, key.target).is_some()
}

/// Both take part, and neither has blocked the other.
fn may_connect(graph: &Graph, EdgeKey { source, target, .. }: EdgeKey) -> Result<(), Refusal> {
    takes_part(graph, source)?;
    takes_part(graph, target)?;
    let blocks = |a, b| graph.edge(EdgeKind::Block, a, b).is_some();
    if blocks(source, target) || blocks(target, source) {
        return Err(Refusal::Blocked);
    }
    Ok(())
}

fn takes_part(graph: &Graph, user: UserId) -> Result<(), Refusal> {
    match graph.account(user).state {
        AccountState::Active => Ok(()),
        AccountState::Archived => Err(Refusal::Archived(user)),
        AccountState::Erasing => Err(Refusal::Erasing(user)),
    }
}
