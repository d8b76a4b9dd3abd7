//! What replacing a following list does.

use std::collections::BTreeSet;

use proto::UserId;
use proto::event::{EdgeKey, EdgeKind, MAX_EDGES};

use super::change::{Change, Op};
use super::decide::{Decision, Report, Rules, takes_part};
use super::graph::Graph;
use super::job::{JobKind, NewJob};
use super::pair::{blocked, drop_edge};
use super::refusal::{Refusal, Refused};

/// What a replacement adds and removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaceReport {
    /// Whom the actor follows from now on.
    pub added: Vec<UserId>,
    /// Whom it follows, or asks, no longer.
    pub removed: Vec<UserId>,
    /// Whom it has asked.
    pub requested: Vec<UserId>,
}

/// All or nothing: one account that cannot be followed refuses the whole list.
pub(super) fn replace(
    graph: &Graph,
    actor: UserId,
    targets: &[UserId],
    rules: &Rules,
) -> Result<Decision, Refused> {
    takes_part(graph, actor)?;
    let cap = rules.follow_cap.of(&graph.account(actor));
    if targets.len() as u64 > cap {
        return Err(Refusal::FollowCap { user: actor, cap }.into());
    }
    for (index, target) in targets.iter().enumerate() {
        may_follow(graph, actor, *target).map_err(|refusal| Refused { refusal, index: Some(index) })?;
    }
    let (changes, report) = difference(graph, actor, targets, targets);
    let mut decision = Decision { report: Report::Replace(report), ..Decision::default() };
    if changes.len() <= MAX_EDGES {
        decision.changes = changes;
    } else {
        let (targets, total) = (targets.to_vec(), changes.len());
        decision.job = Some(NewJob { kind: JobKind::ReplaceFollowing, user: actor, targets, total });
    }
    Ok(decision)
}

/// One step of the job: the next changes, at most `limit`; fewer when it is done.
/// What cannot be followed any more is not added; a follow of it that is there stays.
pub fn replace_step(graph: &Graph, actor: UserId, targets: &[UserId], limit: usize) -> Vec<Change> {
    if takes_part(graph, actor).is_err() {
        return Vec::new();
    }
    let possible: Vec<UserId> =
        targets.iter().copied().filter(|target| may_follow(graph, actor, *target).is_ok()).collect();
    let (mut changes, _) = difference(graph, actor, targets, &possible);
    // A request that becomes a follow is two changes, which must not be parted.
    let end = changes.len().min(limit);
    let parted = |end: usize| {
        let (last, next) = (changes.get(end.wrapping_sub(1)), changes.get(end));
        last.zip(next).is_some_and(|(last, next)| last.key.target == next.key.target)
    };
    changes.truncate(if parted(end) { end - 1 } else { end });
    changes
}

fn may_follow(graph: &Graph, actor: UserId, target: UserId) -> Result<(), Refusal> {
    takes_part(graph, target)?;
    if blocked(graph, actor, target) { Err(Refusal::Blocked) } else { Ok(()) }
}

/// First what goes: whatever is not `wanted`; then what comes: of the `possible` ones, the first last, so that it is
/// listed as the newest.
fn difference(
    graph: &Graph,
    actor: UserId,
    wanted: &[UserId],
    possible: &[UserId],
) -> (Vec<Change>, ReplaceReport) {
    let wanted: BTreeSet<UserId> = wanted.iter().copied().collect();
    let mut report = ReplaceReport::default();
    let mut changes = Vec::new();
    for kind in [EdgeKind::Follow, EdgeKind::FollowRequest] {
        for key in graph.edges_from(kind, actor).filter(|key| !wanted.contains(&key.target)) {
            changes.extend(drop_edge(graph, key));
            report.removed.push(key.target);
        }
    }
    for target in possible.iter().rev() {
        let key = |kind| EdgeKey { kind, source: actor, target: *target };
        let (follow, request) = (key(EdgeKind::Follow), key(EdgeKind::FollowRequest));
        let asked = graph.live(&request).is_some();
        if graph.live(&follow).is_some() {
            continue;
        }
        match graph.account(*target).private {
            true if asked => {}
            true => {
                changes.push(Change::add(request));
                report.requested.push(*target);
            }
            false => {
                changes.extend(asked.then(|| Change::remove(request)));
                changes.push(Change { key: follow, op: Op::Add { created_at: None, expires_at: None } });
                report.added.push(*target);
            }
        }
    }
    report.added.reverse();
    report.requested.reverse();
    (changes, report)
}
