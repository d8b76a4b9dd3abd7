//! What goes on without anybody waiting: jobs, in chunks, and the end of mutes and
//! blocks that run out.
//!
//! Owns: who works on jobs (one replica at a time; what runs out, each of them looks for), the order and pace of the
//! steps. Each step is a transaction of its own that locks the head first, like every writer, and
//! decides anew what must be so for it to go on. So a step that was lost, done twice or
//! overtaken by a command does no harm. It must not know gRPC.
//!
//! What can go wrong: the database goes away; the step is tried again. A job of a kind
//! that this version does not know waits for a newer one.

mod expiry;
mod replace;
mod rest;
mod step;

use std::sync::Arc;
use std::time::Duration;

use proto::Token;
use service_kit::telemetry::chain;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use rest::Resting;

use crate::clock::DatabaseClock;
use crate::leadership::{Leadership, Role};
use crate::metrics;
use crate::projectors::Projectors;
use crate::store::{jobs, misses_partition, targets, within};

/// How often work is looked for. An expiry must be less than a second late.
const POLL: Duration = Duration::from_millis(200);
/// How often another replica asks whether the work on jobs is left to it.
const ASK: Duration = Duration::from_secs(1);
/// How often the lists of jobs are tidied, and those of jobs that 0.1.0 started are taken over.
const UPKEEP: Duration = Duration::from_secs(5);
/// After a failure that is not a job's.
const RETRY: Duration = Duration::from_millis(500);

/// How jobs are paced, so that they do not slow down others.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most edges of one step.
    pub step_edges: usize,
    /// After a step, so many times its own time passes before the next.
    pub rest: f64,
    /// A job fails after this many failed steps in a row.
    pub attempts: i32,
    /// Jobs wait while a live read model is this far behind.
    pub max_lag: Duration,
}

/// The worker of one process. One process at a time works on jobs; the others ask.
pub struct Worker {
    /// For its transactions.
    pub pool: PgPool,
    /// How it works.
    pub settings: Settings,
    /// Told of each new head.
    pub committed: watch::Sender<Token>,
    /// Told of each job that is started here.
    pub started: Arc<Notify>,
    /// For what runs out.
    pub clock: DatabaseClock,
    /// Told when a partition is missing.
    pub partitions: Arc<Notify>,
    /// For the brake.
    pub projectors: Projectors,
}

impl Worker {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), sqlx::Error> {
        ::metrics::gauge!(metrics::WORKER_LEADER).set(0.0);
        tokio::select! {
            () = self.lead(&stop) => {}
            () = self.expiries() => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    }

    async fn lead(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match Leadership::try_take(&self.pool, Role::Worker).await {
                Ok(Some(leadership)) => {
                    tracing::info!("working on jobs");
                    ::metrics::gauge!(metrics::WORKER_LEADER).set(1.0);
                    tokio::select! {
                        () = watch_over(leadership) => {}
                        () = self.jobs() => {}
                        () = stop.cancelled() => {}
                    }
                    ::metrics::gauge!(metrics::WORKER_LEADER).set(0.0);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(error = %chain(&error), "cannot ask for the work on jobs"),
            }
            tokio::select! {
                () = tokio::time::sleep(ASK) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn jobs(&self) {
        let mut resting = Resting::default();
        let mut upkeep_due = Instant::now();
        loop {
            if Instant::now() >= upkeep_due {
                if let Err(error) = self.upkeep().await {
                    tracing::warn!(error = %chain(&error), "cannot tidy the lists of jobs");
                }
                upkeep_due = Instant::now() + UPKEEP;
            }
            let started = Instant::now();
            match step::next(&self.pool, &self.clock, self.settings.step_edges, &resting.ids(started)).await {
                Ok(None) => {
                    // A job of another replica is found by looking.
                    let _ = tokio::time::timeout(POLL, self.started.notified()).await;
                }
                Ok(Some((job_id, Ok(outcome)))) => {
                    let took = started.elapsed();
                    resting.note_success(job_id);
                    self.note(outcome);
                    self.projectors.brake(self.settings.max_lag).await;
                    tokio::time::sleep(took.mul_f64(self.settings.rest)).await;
                }
                Ok(Some((job_id, Err(failed)))) => {
                    let took = started.elapsed();
                    let pause = resting.note_failure(job_id, Instant::now());
                    tracing::warn!(%job_id, error = %chain(&failed.error), ?pause, "a step of a job failed");
                    self.heal(&failed.error);
                    self.note_failure(job_id, &failed).await;
                    tokio::time::sleep(took.mul_f64(self.settings.rest)).await;
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot look for jobs");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn note(&self, outcome: step::Outcome) {
        let step::Outcome::Stepped { kind, edges, ended, head } = outcome else { return };
        ::metrics::counter!(metrics::JOB_EDGES, "kind" => kind).increment(edges);
        if let Some(state) = ended {
            ::metrics::counter!(metrics::JOBS_ENDED, "kind" => kind, "state" => state).increment(1);
        }
        if let Some(head) = head {
            self.committed.send_replace(head);
        }
    }

    /// Counts the attempt, unless the failure is not the job's own, and fails the job after the last one.
    async fn note_failure(&self, job_id: uuid::Uuid, failed: &step::Failed) {
        let (kind, cause) = (failed.kind.name(), failed.cause());
        ::metrics::counter!(metrics::JOB_STEPS_FAILED, "kind" => kind, "cause" => cause).increment(1);
        let noted = within(async {
            let mut connection = service_kit::postgres::acquire(&self.pool).await?;
            if failed.counts() {
                return jobs::note_failure(&mut connection, job_id, self.settings.attempts).await;
            }
            jobs::put_back(&mut connection, job_id).await.map(|()| None)
        });
        match noted.await {
            Ok(Some((attempts, state))) if state == "failed" => {
                tracing::error!(%job_id, kind, attempts, "gave a job up");
                ::metrics::counter!(metrics::JOBS_ENDED, "kind" => kind, "state" => "failed").increment(1);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%job_id, error = %chain(&error), "cannot count the attempts of a job")
            }
        }
    }

    async fn upkeep(&self) -> Result<(), sqlx::Error> {
        let mut connection = service_kit::postgres::acquire(&self.pool).await?;
        within(targets::adopt(&mut connection)).await?;
        within(targets::delete_ended(&mut connection)).await
    }

    fn heal(&self, error: &sqlx::Error) {
        if misses_partition(error) {
            self.partitions.notify_one();
        }
    }

    async fn expiries(&self) {
        loop {
            match expiry::next(&self.pool, &self.clock, self.settings.step_edges).await {
                Ok(None) => tokio::time::sleep(POLL).await,
                Ok(Some(expired)) => {
                    ::metrics::counter!(metrics::EXPIRED_EDGES).increment(expired.late.len() as u64);
                    expired.late.iter().for_each(|late| {
                        ::metrics::histogram!(metrics::EXPIRY_LATE_SECONDS).record(*late);
                    });
                    self.committed.send_replace(expired.head);
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot end what has run out");
                    self.heal(&error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// Returns when the leadership is lost.
async fn watch_over(mut leadership: Leadership) {
    loop {
        tokio::time::sleep(ASK).await;
        if let Err(error) = leadership.check().await {
            tracing::warn!(error = %chain(&error), "lost the work on jobs");
            return;
        }
    }
}
