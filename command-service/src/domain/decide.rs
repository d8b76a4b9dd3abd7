//! What a command does, given the graph.

use proto::UserId;
use proto::event::{AccountChange, AccountOp};
use time::OffsetDateTime;
use uuid::Uuid;

use super::account::{AccountState, FollowCap};
use super::change::{Change, Stamp};
use super::command::{AccountAction, Command, ImportReport, PairCommand, Touches};
use super::graph::Graph;
use super::import::import;
use super::job::{JobKind, NewJob};
use super::net::net;
use super::pair::decide_pair;
use super::refusal::{Refusal, Refused};
use super::replace::{ReplaceReport, replace};

/// What decisions depend on beside the graph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// The time from which on a date is in the future.
    pub now: OffsetDateTime,
    /// How many others an account may follow.
    pub follow_cap: FollowCap,
}

/// What a command changes. Nothing: it was obeyed already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The changes, in the order of their positions; no edge twice.
    pub changes: Vec<Change>,
    /// The accounts whose flags change.
    pub accounts: Vec<AccountChange>,
    /// A job to start.
    pub job: Option<NewJob>,
    /// A job that is doing what was asked for already.
    pub running: Option<Uuid>,
    /// What the answer tells beside.
    pub report: Report,
}

/// What an answer tells of commands with parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Report {
    /// Nothing.
    #[default]
    None,
    /// Of an import: what became of the chunk.
    Import(ImportReport),
    /// Of a batch: which of its commands changed something.
    Batch(Vec<bool>),
    /// Of a replaced list: what was added and removed.
    Replace(ReplaceReport),
}

impl Decision {
    /// Something changes.
    pub fn changes_something(&self) -> bool {
        !self.changes.is_empty() || !self.accounts.is_empty()
    }
}

/// Decides a command. Says nothing about revisions.
pub fn decide(graph: &Graph, command: &Command, rules: &Rules) -> Result<Decision, Refused> {
    match command {
        Command::Pair(command) => {
            Ok(Decision { changes: decide_pair(graph, command, rules)?, ..Decision::default() })
        }
        Command::Batch(commands) => batch(graph, commands, rules),
        Command::Account { user, action } => Ok(account(graph, *user, *action)?),
        Command::ReplaceFollowing(planned) => replace(graph, planned, rules),
        Command::Import { edges, on_conflict } => Ok(import(graph, edges, *on_conflict, rules)),
    }
}

/// Each command sees those before it, on a copy of what they touch; what is left of
/// all their changes is the decision.
fn batch(graph: &Graph, commands: &[PairCommand], rules: &Rules) -> Result<Decision, Refused> {
    let mut touches = Touches::default();
    Command::Batch(commands.to_vec()).touches(&mut touches);
    let mut part = graph.part(&touches.edges, &touches.accounts);
    // No edge that was read can have this revision, so no etag that was read matches an edge that the batch has changed.
    let stamp = Stamp { revision: proto::Revision::MAX, time: rules.now };
    let mut all = Vec::new();
    let mut changed = Vec::with_capacity(commands.len());
    for (index, command) in commands.iter().enumerate() {
        let changes =
            decide_pair(&part, command, rules).map_err(|refusal| Refused { refusal, index: Some(index) })?;
        // A part knows all that the batch touches.
        let _ = part.commit(&changes, &[], stamp);
        changed.push(!changes.is_empty());
        all.extend(changes);
    }
    Ok(Decision { changes: net(&part, &all), report: Report::Batch(changed), ..Decision::default() })
}

fn account(graph: &Graph, user: UserId, action: AccountAction) -> Result<Decision, Refusal> {
    let account = graph.account(user);
    let start = |op: AccountOp, kind: Option<JobKind>| Decision {
        accounts: vec![AccountChange { user, op }],
        job: kind.map(|kind| NewJob { kind, user, prepared: None, total: 0 }),
        ..Decision::default()
    };
    // A job that failed left the account in the middle: the repeated command starts another one.
    let go_on = |kind, unfinished| match graph.running_job(user, kind) {
        None if unfinished => {
            Decision { job: Some(NewJob { kind, user, prepared: None, total: 0 }), ..Decision::default() }
        }
        running => Decision { running, ..Decision::default() },
    };
    use AccountState::{Active, Archived, Erasing, Restoring};
    match (action, account.state) {
        (AccountAction::Erase, Erasing) => Ok(go_on(JobKind::Erase, true)),
        (_, Erasing) => Err(Refusal::Erasing(user)),
        (AccountAction::Erase, _) => Ok(start(AccountOp::EraseStarted, Some(JobKind::Erase))),
        (AccountAction::Archive, Archived) => Ok(go_on(JobKind::Archive, graph.has_edges_to_hide(user))),
        (AccountAction::Archive, _) => Ok(start(AccountOp::Archived, Some(JobKind::Archive))),
        (AccountAction::Restore, Archived) => Ok(start(AccountOp::Restored, Some(JobKind::Restore))),
        (AccountAction::Restore, state) => Ok(go_on(JobKind::Restore, state == Restoring)),
        (AccountAction::SetPrivacy { .. }, Archived | Restoring) => Err(Refusal::Archived(user)),
        (AccountAction::SetPrivacy { private }, Active) if private == account.private => {
            // A job that makes it public may still run where it is private again; that one will find out.
            let unfinished = account.requests_received > 0;
            Ok(if private { Decision::default() } else { go_on(JobKind::MakePublic, unfinished) })
        }
        (AccountAction::SetPrivacy { private: true }, Active) => Ok(start(AccountOp::MadePrivate, None)),
        (AccountAction::SetPrivacy { private: false }, Active) => {
            let asked = account.requests_received > 0;
            Ok(start(AccountOp::MadePublic, asked.then_some(JobKind::MakePublic)))
        }
    }
}

/// The account takes part.
pub fn takes_part(graph: &Graph, user: UserId) -> Result<(), Refusal> {
    is_active(user, graph.account(user).state)
}

/// An account of this state takes part.
pub(super) fn is_active(user: UserId, state: AccountState) -> Result<(), Refusal> {
    match state {
        AccountState::Active => Ok(()),
        AccountState::Archived | AccountState::Restoring => Err(Refusal::Archived(user)),
        AccountState::Erasing => Err(Refusal::Erasing(user)),
    }
}
