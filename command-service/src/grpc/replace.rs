//! ReplaceFollowing: plans on a snapshot, so that a long list does not hold the lock on the head.
//!
//! The committer accepts a plan only if the list is the same as in the snapshot; otherwise this file plans again. After
//! [`ATTEMPTS`] plans, or if one event cannot hold the changes, a job makes them. The call writes the job's list before
//! the command that starts the job.

use std::time::Duration;

use proto::command::v1 as wire;
use proto::error::ServiceError;
use proto::event::MAX_EDGES;
use proto::{Epoch, Revision, Token, UserId};
use service_kit::telemetry::chain;
use service_kit::{ids, postgres};
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::time::Instant;
use uuid::Uuid;

use super::fair_semaphore::FairSemaphore;
use super::gateway::{CommandGateway, Origin};
use super::{errors, parse};
use crate::committer::{Failure, Lane};
use crate::domain::{
    Answer, Body, Command, FollowCap, Refusal, Refused, ReplacePlan, Replacement, RequestKey, Work,
    check_actor, check_cap, plan,
};
use crate::responses;
use crate::store::{head, is_timeout, is_transient, replacement, replies, targets, within};

/// Concurrent plans of one process.
const PLANS: usize = 2;
/// Plans of one call; the last one becomes a job.
const ATTEMPTS: usize = 3;
/// Pause before another plan while PostgreSQL is down.
const RETRY: Duration = Duration::from_millis(100);
/// Above this number of changes, a dry run returns counts only. 50,000 ids are 2 MB; clients accept 4 MiB by default.
const MAX_LISTED: usize = 50_000;

/// Plans replacements and executes them. Clones share the limit of concurrent plans.
#[derive(Clone, Debug)]
pub struct Replacer {
    pool: PgPool,
    follow_cap: FollowCap,
    /// How long a plan is retried while the database is down.
    timeout: Duration,
    plans: FairSemaphore,
}

/// A checked request.
struct Wanted {
    actor: UserId,
    targets: Vec<UserId>,
    dry_run: bool,
}

/// Result of planning.
enum Planned {
    /// The request was answered before.
    Repeated,
    /// A rule refuses it.
    Refused(Refused),
    /// The changes, and the state that they are based on: `seen` and the number of `listed` accounts.
    Plan { plan: ReplacePlan, seen: Token, listed: u64 },
}

impl Replacer {
    /// Retries plans for `timeout` while the database is down.
    pub fn new(pool: PgPool, follow_cap: FollowCap, timeout: Duration) -> Self {
        Self { pool, follow_cap, timeout, plans: FairSemaphore::new(PLANS) }
    }

    /// Executes a ReplaceFollowing call.
    pub async fn replace(
        &self,
        gateway: &CommandGateway,
        request: &wire::ReplaceFollowingRequest,
        origin: Origin,
    ) -> Result<wire::ReplaceFollowingResponse, ServiceError> {
        let actor = parse::user("actor_id", &request.actor_id)?;
        let targets = parse::targets(actor, &request.target_ids)?;
        // A dry run changes nothing, so it needs no idempotency record.
        let request_id = if request.dry_run { "" } else { &request.request_id };
        let key = parse::request_key(request_id, actor, || parse::replacement_content(actor, &targets))?;
        gateway.limit.check_many(actor, targets.len())?;
        gateway.check_open().await?;
        let wanted = Wanted { actor, targets, dry_run: request.dry_run };
        match self.execute(gateway, &wanted, key, origin).await? {
            Ok(Answer { changed, written_at, body: Body::Replace(report, job) }) => {
                Ok(responses::replace_following(changed, written_at, &report, job))
            }
            Ok(_) => Err(errors::failure(&Failure::Internal)),
            Err(failure) => {
                let mut error = errors::failure(&failure);
                let target = errors::index(&failure).and_then(|index| wanted.targets.get(index));
                let place = target.and_then(|target| {
                    request.target_ids.iter().position(|id| parse::user("", id).ok() == Some(*target))
                });
                error.field = place.map(|place| format!("target_ids[{place}]")).or(error.field);
                Err(error)
            }
        }
    }

    async fn execute(
        &self,
        gateway: &CommandGateway,
        wanted: &Wanted,
        key: Option<RequestKey>,
        origin: Origin,
    ) -> Result<Result<Answer, Failure>, ServiceError> {
        for attempt in 1..=ATTEMPTS {
            let (plan, seen, listed) = match self.planned(wanted, key.as_ref(), &origin).await {
                Ok(Planned::Plan { plan, seen, listed }) => (plan, seen, listed),
                Ok(Planned::Refused(refused)) => return Ok(Err(refused.into())),
                // The committer repeats the recorded answer and ignores the plan.
                Ok(Planned::Repeated) => (ReplacePlan::default(), Token::new(Epoch(0), Revision::ZERO), 0),
                Err(failure) => return Ok(Err(failure)),
            };
            let total = plan.report.total();
            if wanted.dry_run {
                let report = if total > MAX_LISTED { plan.report.without_lists() } else { plan.report };
                let body = Body::Replace(report, None);
                return Ok(Ok(Answer { changed: total > 0, written_at: seen, body }));
            }
            let as_job = attempt == ATTEMPTS || plan.changes.len() > MAX_EDGES;
            let mut planned = Replacement {
                actor: wanted.actor,
                seen,
                listed,
                size: wanted.targets.len() as u64,
                report: plan.report,
                work: Work::Now(plan.changes),
            };
            let mut prepared = None;
            if as_job {
                // Created before the list is written: the call may be dropped at any await.
                let job = prepared.insert(PreparedJob {
                    pool: self.pool.clone(),
                    job_id: ids::random(),
                    unused: true,
                });
                if let Err(error) = self.prepare(job.job_id, wanted, total).await {
                    return Ok(Err(failure_of(&error)));
                }
                planned.report = planned.report.without_lists();
                planned.work = Work::Job(job.job_id);
            }
            let command = Command::ReplaceFollowing(planned);
            // It is as large as a chunk of an import.
            let outcome = gateway.submit(command, key.clone(), origin.clone(), Lane::Bulk).await?;
            if let (Some(job), Ok(Answer { body: Body::Replace(_, Some(started)), .. })) =
                (&mut prepared, &outcome)
            {
                job.unused = *started != job.job_id;
            }
            match outcome {
                Err(Failure::Refused(Refused {
                    refusal: Refusal::ListChanged | Refusal::ListDiscarded,
                    ..
                })) => {}
                outcome => return Ok(outcome),
            }
        }
        // The last attempt is a job, which does not depend on the list.
        Ok(Err(Failure::NotCommitted))
    }

    /// Plans on a snapshot, with retries while the database is down.
    async fn planned(
        &self,
        wanted: &Wanted,
        key: Option<&RequestKey>,
        origin: &Origin,
    ) -> Result<Planned, Failure> {
        let _permit = self.plans.acquire(&origin.caller).await;
        let until = Instant::now() + self.timeout;
        loop {
            match self.plan(wanted, key).await {
                Ok(planned) => return Ok(planned),
                Err(error)
                    if is_transient(&error) && !is_timeout(&error) && Instant::now() + RETRY < until =>
                {
                    tracing::warn!(error = %chain(&error), "cannot plan a replacement yet");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(failure_of(&error)),
            }
        }
    }

    async fn plan(&self, wanted: &Wanted, key: Option<&RequestKey>) -> sqlx::Result<Planned> {
        let Wanted { actor, targets, .. } = wanted;
        let mut connection = postgres::acquire(&self.pool).await?;
        let mut snapshot = within(replacement::begin_snapshot(&mut connection)).await?;
        if let Some(name) = key.map(RequestKey::name)
            && within(replies::exists(&mut snapshot, name)).await?
        {
            return Ok(Planned::Repeated);
        }
        let seen = within(head::get(&mut snapshot)).await?.token();
        let account = within(replacement::account(&mut snapshot, *actor)).await?;
        if let Err(refused) = check_actor(*actor, &account, targets.len(), &self.follow_cap) {
            return Ok(Planned::Refused(refused));
        }
        let listed = replacement::listed(&mut snapshot, *actor).await?;
        if let Err(refused) = check_cap(*actor, &account, &listed, targets, &self.follow_cap) {
            return Ok(Planned::Refused(refused));
        }
        let targets = replacement::targets(&mut snapshot, *actor, targets).await?;
        within(snapshot.rollback()).await?;
        Ok(match plan(*actor, &listed, &targets) {
            Ok(plan) => Planned::Plan { plan, seen, listed: account.following + account.requests_sent },
            Err(refused) => Planned::Refused(refused),
        })
    }

    async fn prepare(&self, job_id: Uuid, wanted: &Wanted, total: usize) -> sqlx::Result<()> {
        let mut connection = postgres::acquire(&self.pool).await?;
        targets::prepare(&mut connection, job_id, wanted.actor, &wanted.targets, total).await
    }
}

/// A job whose list is written and that no command has started, as far as this call knows. Dropping it deletes the job:
/// a call that ends at its deadline is dropped in the middle.
///
/// The deletion skips a job that a command has started. If the deletion fails, the worker deletes the job later.
struct PreparedJob {
    pool: PgPool,
    job_id: Uuid,
    unused: bool,
}

impl Drop for PreparedJob {
    fn drop(&mut self) {
        if !self.unused {
            return;
        }
        // There is no runtime while the process ends.
        let Ok(runtime) = Handle::try_current() else { return };
        let (pool, job_id) = (self.pool.clone(), self.job_id);
        runtime.spawn(async move {
            let discarded = within(async {
                let mut connection = postgres::acquire(&pool).await?;
                targets::discard(&mut connection, job_id).await
            });
            if let Err(error) = discarded.await {
                tracing::warn!(%job_id, error = %chain(&error), "cannot delete a job that was not started");
            }
        });
    }
}

fn failure_of(error: &sqlx::Error) -> Failure {
    if is_timeout(error) {
        return Failure::TimedOut;
    }
    if is_transient(error) {
        return Failure::NotCommitted;
    }
    tracing::error!(error = %chain(error), "a replacement cannot be planned");
    Failure::Internal
}
