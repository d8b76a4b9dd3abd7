//! The state of the pipeline, as GetStatus and `/readyz` show it.

use std::convert::Infallible;
use std::time::Duration;

use proto::command::v1::GetStatusResponse;
use proto::graph::v1::{Check, CheckState, Head, StreamStatus};
use proto::timestamp;
use service_kit::{postgres, readiness};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Service;
use crate::health;
use crate::responses::optional_id;
use crate::store::{head, jobs};

/// Timeout of the database's part. A database that is away is part of the status, not an error of it.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the checks are evaluated while GetStatus is not called, so that their dates are right.
const EVALUATION: Duration = Duration::from_secs(1);

impl Service {
    /// Evaluates the checks until `stop`.
    pub async fn watch_checks(self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut ticks = tokio::time::interval(EVALUATION);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = self.status() => {}
            }
        }
    }

    /// What is known now.
    pub(super) async fn status(&self) -> GetStatusResponse {
        let read = async {
            let mut connection = postgres::acquire(&self.pool).await?;
            Ok::<_, sqlx::Error>((
                head::get(&mut connection).await?,
                head::database_id(&mut connection).await?,
                jobs::count_running(&mut connection).await?,
            ))
        };
        let read = match self.door.is_checked() {
            true => tokio::time::timeout(DATABASE_TIMEOUT, read).await.ok().and_then(Result::ok),
            false => None,
        };
        let head = read.map(|(head, _, _)| head);
        let database_id = read.map(|(_, database_id, _)| database_id);
        let running_jobs = read.map_or(0, |(_, _, running)| running);
        let standing = self.standing.borrow().clone();
        let replicas = self.projectors.statuses(head.map(|head| head.token()));
        let stream = StreamStatus {
            name: standing.name,
            state: standing.state.into(),
            first_revision: standing.first.0,
            last_revision: standing.last.0,
            leader: standing.leader,
            problem: standing.problem,
            oldest_unpublished: standing.oldest_unpublished.and_then(|age| age.try_into().ok()),
        };
        self.readiness.observe(health::observe(&stream, &replicas, self.clock.now()));
        GetStatusResponse {
            head: head.map(|head| Head {
                epoch: head.epoch.0,
                revision: head.revision.0,
                event_id: head.event_id.map(|id| id.to_string()).unwrap_or_default(),
                token: head.token().to_string(),
            }),
            stream: Some(stream),
            replicas,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            database_id: optional_id(database_id),
            queued_commands: u32::try_from(self.door.queue.waiting()).unwrap_or(u32::MAX),
            running_jobs: u32::try_from(running_jobs).unwrap_or(u32::MAX),
            checks: self.readiness.report().checks().map(check).collect(),
        }
    }
}

fn check(check: &readiness::Check) -> Check {
    let state = if check.reason.is_none() { CheckState::Ok } else { CheckState::Failed };
    Check {
        name: check.kind.name.to_owned(),
        subject: check.subject.clone(),
        state: state.into(),
        reason: check.reason.clone().unwrap_or_default(),
        since: Some(timestamp::to_proto(check.since)),
        action: check.kind.action.to_owned(),
        required: check.required,
    }
}
