//! What replacing a following list does.
//!
//! [`plan`] decides on a snapshot, without the lock on the head; [`replace`] checks under the lock that the plan is still
//! what would be decided. [`remove_step`] and [`add_step`] are the steps of the job.

use std::collections::HashSet;

use proto::event::{EdgeKey, EdgeKind, MAX_EDGES};
use proto::{Token, UserId};
use uuid::Uuid;

use super::account::{Account, AccountState, FollowCap};
use super::change::Change;
use super::decide::{Decision, Report, Rules, is_active, takes_part};
use super::graph::Graph;
use super::job::{JobKind, NewJob};
use super::pair::blocked;
use super::refusal::{Refusal, Refused};

/// Number of changes by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplaceCounts {
    /// Accounts followed from now on.
    pub added: usize,
    /// Accounts no longer followed, or no longer asked.
    pub removed: usize,
    /// Accounts asked.
    pub requested: usize,
}

/// What a replacement adds and removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaceReport {
    /// Accounts followed from now on.
    pub added: Vec<UserId>,
    /// Accounts no longer followed, or no longer asked.
    pub removed: Vec<UserId>,
    /// Accounts asked.
    pub requested: Vec<UserId>,
    /// Lengths of the lists, which are empty if they are too long for a response.
    pub counts: ReplaceCounts,
}

impl ReplaceReport {
    /// The same without its lists.
    #[must_use]
    pub fn without_lists(self) -> Self {
        Self { counts: self.counts, ..Self::default() }
    }

    /// Number of changed accounts.
    pub fn total(&self) -> usize {
        self.counts.added + self.counts.removed + self.counts.requested
    }
}

/// The live follows and pending requests of an account. Hidden ones are not among them: a replacement leaves them alone.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Followed accounts, by position.
    pub follows: Vec<UserId>,
    /// Asked accounts, by position.
    pub requests: Vec<UserId>,
}

/// An account that is to be followed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The account.
    pub user: UserId,
    /// Its state.
    pub state: AccountState,
    /// Following it needs its consent.
    pub private: bool,
    /// One of the two has blocked the other.
    pub blocked: bool,
}

/// A replacement as it was decided on a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplacePlan {
    /// The changes in the order of their positions.
    pub changes: Vec<Change>,
    /// What the response reports.
    pub report: ReplaceReport,
}

/// A plan on its way to the committer.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// The account that follows.
    pub actor: UserId,
    /// The snapshot that the plan was decided on.
    pub seen: Token,
    /// Number of live follows and pending requests in the snapshot.
    pub listed: u64,
    /// Length of the new list.
    pub size: u64,
    /// What the response reports.
    pub report: ReplaceReport,
    /// Who makes the changes.
    pub work: Work,
}

/// Who makes the changes of a replacement.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// The command, in one event.
    Now(Vec<Change>),
    /// A job whose list is in the database already.
    Job(Uuid),
}

/// Checks the actor before anything else is loaded: a list longer than both the cap and what the actor follows adds an
/// account for certain.
pub fn check_actor(actor: UserId, account: &Account, size: usize, cap: &FollowCap) -> Result<(), Refused> {
    is_active(actor, account.state)?;
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
        is_active(target.user, target.state).map_err(refused)?;
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

impl ReplacePlan {
    /// One event holds all changes.
    pub fn fits_one_event(&self) -> bool {
        self.changes.len() <= MAX_EDGES
    }
}

/// Carries a plan out if the list and the touched pairs are as they were in its snapshot.
pub(super) fn replace(graph: &Graph, planned: &Replacement, rules: &Rules) -> Result<Decision, Refused> {
    let actor = planned.actor;
    takes_part(graph, actor)?;
    let mut decision = Decision { report: Report::Replace(planned.report.clone()), ..Decision::default() };
    match &planned.work {
        Work::Job(prepared) => {
            if graph.list_is_discarded(*prepared) {
                return Err(Refusal::ListDiscarded.into());
            }
            let total = planned.report.total();
            let kind = JobKind::ReplaceFollowing;
            decision.job = Some(NewJob { kind, user: actor, prepared: Some(*prepared), total });
        }
        Work::Now(changes) => {
            let account = graph.account(actor);
            let adds = planned.report.counts.added + planned.report.counts.requested > 0;
            let stands = graph.list_is_unchanged(actor, planned.seen.revision)
                && account.following + account.requests_sent == planned.listed
                && (!adds || planned.size <= rules.follow_cap.of(&account))
                && changes.iter().all(|change| holds(graph, changes, change));
            if !stands {
                return Err(Refusal::ListChanged.into());
            }
            decision.changes.clone_from(changes);
        }
    }
    Ok(decision)
}

/// A planned change is what would be decided now.
fn holds(graph: &Graph, all: &[Change], change: &Change) -> bool {
    let EdgeKey { kind, source, target } = change.key;
    if change.op == Change::remove(change.key).op {
        return graph.live(&change.key).is_some();
    }
    let request = EdgeKey { kind: EdgeKind::FollowRequest, ..change.key };
    let asked = graph.live(&request).is_some();
    may_follow(graph, source, target).is_ok()
        && graph.edge(EdgeKind::Follow, source, target).is_none()
        && graph.account(target).private == (kind == EdgeKind::FollowRequest)
        // A request ends in the same event as its follow begins.
        && (!asked || (kind == EdgeKind::Follow && all.contains(&Change::remove(request))))
}

/// A step of the job that ends follows and requests. Hidden ones stay.
pub fn remove_step(graph: &Graph, actor: UserId, targets: &[UserId]) -> Vec<Change> {
    targets
        .iter()
        .flat_map(|target| {
            [EdgeKind::Follow, EdgeKind::FollowRequest].map(|kind| EdgeKey {
                kind,
                source: actor,
                target: *target,
            })
        })
        .filter(|key| graph.live(key).is_some())
        .map(Change::remove)
        .collect()
}

/// A step of the job that follows accounts, or asks. It passes over those that cannot be followed any more.
pub fn add_step(graph: &Graph, actor: UserId, targets: &[UserId]) -> Vec<Change> {
    let mut changes = Vec::new();
    for target in targets.iter().copied() {
        let key = |kind| EdgeKey { kind, source: actor, target };
        let (follow, request) = (key(EdgeKind::Follow), key(EdgeKind::FollowRequest));
        if may_follow(graph, actor, target).is_err() || graph.live(&follow).is_some() {
            continue;
        }
        let asked = graph.live(&request).is_some();
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
    takes_part(graph, target)?;
    if blocked(graph, actor, target) { Err(Refusal::Blocked) } else { Ok(()) }
}
