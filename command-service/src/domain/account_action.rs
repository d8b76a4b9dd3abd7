//! Decides commands of an account about itself: privacy, archive, restore, erase.

use proto::UserId;
use proto::event::{AccountChange, AccountOp};

use super::account::AccountState;
use super::command::AccountAction;
use super::decision::Decision;
use super::graph::Graph;
use super::job::{JobKind, NewJob};
use super::refusal::Refusal;

pub(super) fn decide_account(
    graph: &Graph,
    user: UserId,
    action: AccountAction,
) -> Result<Decision, Refusal> {
    let account = graph.account(user);
    let start = |op: AccountOp, kind: Option<JobKind>| Decision {
        accounts: vec![AccountChange { user, op }],
        job: kind.map(|kind| NewJob { kind, user, prepared: None, total: 0 }),
        ..Decision::default()
    };
    // A failed job leaves the account half done: the repeated command starts another job.
    let resume = |kind, unfinished| match graph.running_job(user, kind) {
        None if unfinished => {
            Decision { job: Some(NewJob { kind, user, prepared: None, total: 0 }), ..Decision::default() }
        }
        running => Decision { running, ..Decision::default() },
    };
    use AccountState::{Active, Archived, Erasing, Restoring};
    match (action, account.state) {
        (AccountAction::Erase, Erasing) => Ok(resume(JobKind::Erase, true)),
        (_, Erasing) => Err(Refusal::Erasing(user)),
        (AccountAction::Erase, _) => Ok(start(AccountOp::EraseStarted, Some(JobKind::Erase))),
        (AccountAction::Archive, Archived) => Ok(resume(JobKind::Archive, graph.has_edges_to_hide(user))),
        (AccountAction::Archive, _) => Ok(start(AccountOp::Archived, Some(JobKind::Archive))),
        (AccountAction::Restore, Archived) => Ok(start(AccountOp::Restored, Some(JobKind::Restore))),
        (AccountAction::Restore, state) => Ok(resume(JobKind::Restore, state == Restoring)),
        (AccountAction::SetPrivacy { .. }, Archived | Restoring) => Err(Refusal::Archived(user)),
        (AccountAction::SetPrivacy { private }, Active) if private == account.private => {
            // A make_public job may still run although the account is private again; its next step ends it.
            let unfinished = account.requests_received > 0;
            Ok(if private { Decision::default() } else { resume(JobKind::MakePublic, unfinished) })
        }
        (AccountAction::SetPrivacy { private: true }, Active) => Ok(start(AccountOp::MadePrivate, None)),
        (AccountAction::SetPrivacy { private: false }, Active) => {
            let has_requests = account.requests_received > 0;
            Ok(start(AccountOp::MadePublic, has_requests.then_some(JobKind::MakePublic)))
        }
    }
}
