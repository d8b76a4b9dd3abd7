//! Runs jobs and expiries at a pace that leaves room for commands.
//!
//! One process at a time works on jobs; every process looks for expired edges. A job of a kind that this version does
//! not know waits for a newer process.

use std::sync::Arc;
use std::time::Duration;

use proto::Token;
use service_kit::telemetry::chain;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::outcome::{Failed, Outcome};
use super::{expiry, step};
use crate::clock::DatabaseClock;
use crate::leadership::{Leadership, Role};
use crate::metrics;
use crate::projectors::Projectors;
use crate::store::{jobs, misses_partition, targets, within};

/// Interval of polls. An expiry must be less than a second late.
const POLL: Duration = Duration::from_millis(200);
/// Interval of attempts to become the worker, and of checks that this process still is.
const LEADERSHIP_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of the cleanup of lists, and of the adoption of jobs that 0.1.0 started.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);
/// Pause after a failure outside of a job's step.
const RETRY: Duration = Duration::from_millis(500);

/// Pace of jobs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Maximum number of edges of one step.
    pub step_edges: usize,
    /// Pause after a step, as a multiple of the step's own time.
    pub pause_factor: f64,
    /// A job fails after this many failed steps in a row.
    pub attempts: i32,
    /// Lag of a live read model above which jobs are throttled.
    pub max_lag: Duration,
}

/// The worker of one process.
pub struct Worker {
    /// Connections for its transactions: one for jobs, one for expiries.
    pub pool: PgPool,
    /// Pace of jobs.
    pub settings: Settings,
    /// Receives each new head.
    pub committed: watch::Sender<Token>,
    /// Notified of each job that a command of this process starts.
    pub started: Arc<Notify>,
    /// Decides what has expired.
    pub clock: DatabaseClock,
    /// Notified when a partition is missing.
    pub partitions: Arc<Notify>,
    /// Throttles jobs while read models lag.
    pub projectors: Projectors,
}

impl Worker {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> sqlx::Result<()> {
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
            stop.run_until_cancelled(tokio::time::sleep(LEADERSHIP_INTERVAL)).await;
        }
    }

    async fn jobs(&self) {
        let mut backoff = Backoff::default();
        let mut cleanup_due = Instant::now();
        loop {
            if Instant::now() >= cleanup_due {
                if let Err(error) = self.clean_up().await {
                    tracing::warn!(error = %chain(&error), "cannot clean up the lists of jobs");
                }
                cleanup_due = Instant::now() + CLEANUP_INTERVAL;
            }
            let started = Instant::now();
            match step::next(&self.pool, &self.clock, self.settings.step_edges, &backoff.paused(started))
                .await
            {
                Ok(None) => {
                    // Jobs that other processes start are found by polling.
                    let _ = tokio::time::timeout(POLL, self.started.notified()).await;
                }
                Ok(Some((job_id, Ok(outcome)))) => {
                    let took = started.elapsed();
                    backoff.record_success(job_id);
                    self.record(outcome);
                    self.projectors.throttle(self.settings.max_lag).await;
                    tokio::time::sleep(took.mul_f64(self.settings.pause_factor)).await;
                }
                Ok(Some((job_id, Err(failed)))) => {
                    let took = started.elapsed();
                    let pause = backoff.record_failure(job_id, Instant::now());
                    tracing::warn!(%job_id, error = %chain(&failed.error), ?pause, "a step of a job failed");
                    self.report_missing_partition(&failed.error);
                    self.record_failure(job_id, &failed).await;
                    tokio::time::sleep(took.mul_f64(self.settings.pause_factor)).await;
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot look for jobs");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn record(&self, outcome: Outcome) {
        let Outcome::Stepped { kind, edges, ended, head } = outcome else { return };
        ::metrics::counter!(metrics::JOB_EDGES, "kind" => kind).increment(edges);
        if let Some(state) = ended {
            ::metrics::counter!(metrics::JOBS_ENDED, "kind" => kind, "state" => state).increment(1);
        }
        if let Some(head) = head {
            self.committed.send_replace(head);
        }
    }

    /// Counts the attempt if the failure is the job's own, and fails the job after the last attempt.
    async fn record_failure(&self, job_id: uuid::Uuid, failed: &Failed) {
        let (kind, cause) = (failed.kind.name(), failed.cause());
        ::metrics::counter!(metrics::JOB_STEPS_FAILED, "kind" => kind, "cause" => cause).increment(1);
        let noted = within(async {
            let mut connection = service_kit::postgres::acquire(&self.pool).await?;
            if failed.counts() {
                return jobs::record_failure(&mut connection, job_id, self.settings.attempts).await;
            }
            jobs::put_back(&mut connection, job_id).await.map(|()| None)
        });
        match noted.await {
            Ok(Some((attempts, jobs::State::Failed))) => {
                tracing::error!(%job_id, kind, attempts, "gave a job up");
                ::metrics::counter!(metrics::JOBS_ENDED, "kind" => kind, "state" => "failed").increment(1);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%job_id, error = %chain(&error), "cannot count the attempts of a job")
            }
        }
    }

    async fn clean_up(&self) -> sqlx::Result<()> {
        let mut connection = service_kit::postgres::acquire(&self.pool).await?;
        within(targets::adopt(&mut connection)).await?;
        within(targets::delete_ended(&mut connection)).await
    }

    fn report_missing_partition(&self, error: &sqlx::Error) {
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
                    tracing::warn!(error = %chain(&error), "cannot remove expired edges");
                    self.report_missing_partition(&error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// Returns when the leadership is lost.
async fn watch_over(mut leadership: Leadership) {
    loop {
        tokio::time::sleep(LEADERSHIP_INTERVAL).await;
        if let Err(error) = leadership.check().await {
            tracing::warn!(error = %chain(&error), "lost the work on jobs");
            return;
        }
    }
}
