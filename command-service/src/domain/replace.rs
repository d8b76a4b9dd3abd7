//! Decides the replacement of a following list.
//!
//! [`plan`] decides on a snapshot, without the lock on the head. Under the lock, [`decide_replacement`] accepts the
//! plan only if the decision would still be the same. [`remove_step`] and [`add_step`] are the steps of the job.

use std::collections::HashSet;

use proto::UserId;
use proto::event::{EdgeKey, EdgeKind};

use super::account::{Account, AccountState, FollowCap};
use super::change::Change;
use super::decision::{Decision, Report};
use super::graph::Graph;
use super::job::{JobKind, NewJob};
use super::refusal::{Refusal, Refused};
use super::replacement::{ReplaceCounts, ReplaceReport, Replacement, Work};
use super::rules::{Rules, check_active, check_active_state, is_blocked};

/// Live follows and pending requests of an account. A replacement does not touch archived ones.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Followed accounts, by position.
    pub follows: Vec<UserId>,
    /// Accounts with a pending request, by position.
    pub requests: Vec<UserId>,
}

/// An account of the new list.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its id.
    pub user: UserId,
    /// Its state.
    pub state: AccountState,
    /// Following it requires its consent.
    pub private: bool,
    /// One of the two has blocked the other.
    pub blocked: bool,
}

/// Changes of a replacement, decided on a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplacePlan {
    /// Changes in the order of their positions.
    pub changes: Vec<Change>,
    /// Results for the response.
    pub report: ReplaceReport,
}

/// Checks the actor before anything else is loaded. A list that is longer than both the cap and the current list must
/// add an account.
pub fn check_actor(actor: UserId, account: &Account, size: usize, cap: &FollowCap) -> Result<(), Refused> {
    check_active_state(actor, account.state)?;
    let (size, cap) = (size as u64, cap.of(account));
    if size > cap && size > account.following + account.requests_sent {
        return Err(Refusal::FollowCap { user: actor, cap }.into());
    }
    Ok(())
}

/// Refuses a list above the cap if it adds an account.
pub fn check_cap(
    actor: UserId,
    account: &Account,
    listed: &Listed,
    targets: &[UserId],
    cap: &FollowCap,
) -> Result<(), Refused> {
    let cap = cap.of(account);
    if targets.len() as u64 <= cap {
        return Ok(());
    }
    let known: HashSet<UserId> = listed.follows.iter().chain(&listed.requests).copied().collect();
    if targets.iter().all(|target| known.contains(target)) {
        return Ok(());
    }
    Err(Refusal::FollowCap { user: actor, cap }.into())
}

/// Decides a replacement. One account that cannot be followed refuses the whole list.
///
/// Removals come first, then additions in reverse, so that the first target is listed as the newest.
pub fn plan(actor: UserId, listed: &Listed, targets: &[Target]) -> Result<ReplacePlan, Refused> {
    for (index, target) in targets.iter().enumerate() {
        let refused = |refusal| Refused { refusal, index: Some(index) };
        check_active_state(target.user, target.state).map_err(refused)?;
        if target.blocked {
            return Err(refused(Refusal::Blocked));
        }
    }
    let key = |kind, target| EdgeKey { kind, source: actor, target };
    let wanted: HashSet<UserId> = targets.iter().map(|target| target.user).collect();
    let follows: HashSet<UserId> = listed.follows.iter().copied().collect();
    let requests: HashSet<UserId> = listed.requests.iter().copied().collect();
    let mut plan = ReplacePlan::default();
    let (changes, report) = (&mut plan.changes, &mut plan.report);
    for (kind, users) in [(EdgeKind::Follow, &listed.follows), (EdgeKind::FollowRequest, &listed.requests)] {
        for user in users.iter().filter(|user| !wanted.contains(user)) {
            changes.push(Change::remove(key(kind, *user)));
            report.removed.push(*user);
        }
    }
    for Target { user, private, .. } in targets.iter().rev().filter(|t| !follows.contains(&t.user)) {
        let asked = requests.contains(user);
        if *private && !asked {
            changes.push(Change::add(key(EdgeKind::FollowRequest, *user)));
            report.requested.push(*user);
        } else if !private {
            changes.extend(asked.then(|| Change::remove(key(EdgeKind::FollowRequest, *user))));
            changes.push(Change::add(key(EdgeKind::Follow, *user)));
            report.added.push(*user);
        }
    }
    report.added.reverse();
    report.requested.reverse();
    report.counts = ReplaceCounts {
        added: report.added.len(),
        removed: report.removed.len(),
        requested: report.requested.len(),
    };
    Ok(plan)
}

/// Accepts a plan if the list and the touched pairs have not changed since its snapshot.
pub(super) fn decide_replacement(
    graph: &Graph,
    planned: &Replacement,
    rules: &Rules,
) -> Result<Decision, Refused> {
    let actor = planned.actor;
    check_active(graph, actor)?;
    let mut decision = Decision { report: Report::Replace(planned.report.clone()), ..Decision::default() };
    match &planned.work {
        Work::Job(prepared) => {
            if graph.discarded_lists.contains(prepared) {
                return Err(Refusal::ListDiscarded.into());
            }
            let total = planned.report.total();
            let kind = JobKind::ReplaceFollowing;
            decision.job = Some(NewJob { kind, user: actor, prepared: Some(*prepared), total });
        }
        Work::Now(changes) => {
            let account = graph.account(actor);
            let adds = planned.report.counts.added + planned.report.counts.requested > 0;
            let is_current = graph.list_is_unchanged(actor, planned.seen.revision)
                && account.following + account.requests_sent == planned.listed
                && (!adds || planned.size <= rules.follow_cap.of(&account))
                && changes.iter().all(|change| is_still_decided(graph, changes, change));
            if !is_current {
                return Err(Refusal::ListChanged.into());
            }
            decision.changes.clone_from(changes);
        }
    }
    Ok(decision)
}

/// Whether the decision about a pair would be the planned change now.
fn is_still_decided(graph: &Graph, all: &[Change], change: &Change) -> bool {
    let EdgeKey { kind, source, target } = change.key;
    if change.op == Change::remove(change.key).op {
        return graph.live.get(&change.key).is_some();
    }
    let request = EdgeKey { kind: EdgeKind::FollowRequest, ..change.key };
    let asked = graph.live.get(&request).is_some();
    may_follow(graph, source, target).is_ok()
        && graph.edge(EdgeKind::Follow, source, target).is_none()
        && graph.account(target).private == (kind == EdgeKind::FollowRequest)
        // A request ends in the same event as its follow begins.
        && (!asked || (kind == EdgeKind::Follow && all.contains(&Change::remove(request))))
}

/// A step of the job that removes follows and requests. Archived ones stay.
pub fn remove_step(graph: &Graph, actor: UserId, targets: &[UserId]) -> Vec<Change> {
    let key = |kind, target: &UserId| EdgeKey { kind, source: actor, target: *target };
    let keys = targets
        .iter()
        .flat_map(|target| [EdgeKind::Follow, EdgeKind::FollowRequest].map(|kind| key(kind, target)));
    keys.filter(|key| graph.live.get(key).is_some()).map(Change::remove).collect()
}

/// A step of the job that adds follows and requests. Skips accounts that can no longer be followed.
pub fn add_step(graph: &Graph, actor: UserId, targets: &[UserId]) -> Vec<Change> {
    let mut changes = Vec::new();
    for target in targets.iter().copied() {
        let key = |kind| EdgeKey { kind, source: actor, target };
        let (follow, request) = (key(EdgeKind::Follow), key(EdgeKind::FollowRequest));
        if may_follow(graph, actor, target).is_err() || graph.live.get(&follow).is_some() {
            continue;
        }
        let asked = graph.live.get(&request).is_some();
        match graph.account(target).private {
            true if asked => {}
            true => changes.push(Change::add(request)),
            false => {
                changes.extend(asked.then(|| Change::remove(request)));
                changes.push(Change::add(follow));
            }
        }
    }
    changes
}

fn may_follow(graph: &Graph, actor: UserId, target: UserId) -> Result<(), Refusal> {
    check_active(graph, target)?;
    if is_blocked(graph, actor, target) { Err(Refusal::Blocked) } else { Ok(()) }
}
