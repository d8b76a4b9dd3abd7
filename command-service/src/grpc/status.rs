//! The state of the pipeline, for GetStatus and `/readyz`.

use std::convert::Infallible;
use std::time::Duration;

use proto::command::v1::GetStatusResponse;
use proto::graph::v1::{self as wire, Check, CheckState, Head};
use proto::timestamp;
use service_kit::{Readiness, postgres, readiness};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::gateway::CommandGateway;
use crate::clock::DatabaseClock;
use crate::health;
use crate::projectors::Projectors;
use crate::relay::StreamStatus;
use crate::responses::optional_id;
use crate::store::{head, jobs};

/// After this timeout the status leaves out what the database knows: its outage is part of the status, not an error.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of the evaluation of checks. GetStatus evaluates them too, but their dates must be right without it.
const EVALUATION_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the status. Clones share everything.
#[derive(Clone, Debug)]
pub struct StatusReader {
    /// Source of the head and of the number of jobs.
    pub pool: PgPool,
    /// State of the stream.
    pub stream: watch::Receiver<StreamStatus>,
    /// States of the projectors.
    pub projectors: Projectors,
    /// Takes the results of the checks.
    pub readiness: Readiness,
    /// Dates the checks.
    pub clock: DatabaseClock,
    /// Has the queue, and knows whether the database may be used.
    pub gateway: CommandGateway,
}

impl StatusReader {
    /// Evaluates the checks until `stop`.
    pub async fn watch_checks(self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut ticks = tokio::time::interval(EVALUATION_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let evaluate = async {
            loop {
                ticks.tick().await;
                self.read().await;
            }
        };
        let _: Option<Infallible> = stop.run_until_cancelled(evaluate).await;
        Ok(())
    }

    /// Reads the status and evaluates the checks.
    pub async fn read(&self) -> GetStatusResponse {
        let read = async {
            let mut connection = postgres::acquire(&self.pool).await?;
            Ok::<_, sqlx::Error>((
                head::get(&mut connection).await?,
                head::database_id(&mut connection).await?,
                jobs::count_running(&mut connection).await?,
            ))
        };
        let read = match self.gateway.is_checked() {
            true => tokio::time::timeout(DATABASE_TIMEOUT, read).await.ok().and_then(Result::ok),
            false => None,
        };
        let known = read.map(|(head, database_id, running)| (Some(head), Some(database_id), running));
        let (head, database_id, running_jobs) = known.unwrap_or((None, None, 0));
        let replicas = self.projectors.statuses(head.map(|head| head.token()));
        let stream = stream_status(self.stream.borrow().clone());
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
            queued_commands: u32::try_from(self.gateway.queue.waiting()).unwrap_or(u32::MAX),
            running_jobs: u32::try_from(running_jobs).unwrap_or(u32::MAX),
            checks: self.readiness.report().checks().map(check).collect(),
        }
    }
}

fn stream_status(status: StreamStatus) -> wire::StreamStatus {
    wire::StreamStatus {
        name: status.name,
        state: status.state.into(),
        first_revision: status.first.0,
        last_revision: status.last.0,
        leader: status.leader,
        problem: status.problem,
        oldest_unpublished: status.oldest_unpublished.and_then(|age| age.try_into().ok()),
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
