//! Whether commits succeed: the readiness check `commits`.
//!
//! The committer records how its batches end. If none has succeeded lately, the probe locks the head, inserts rows and
//! rolls them back, and commits. That needs the lock, today's partitions, a flush of the write-ahead log and the
//! synchronous standbys, as the transaction of a command does. A database that only answers reads (full disk, standby,
//! a lock that a session keeps) fails the check.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use service_kit::Latch;
use service_kit::postgres::is_read_only_error;
use service_kit::telemetry::chain;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::store::{head, misses_partition, probe, within};

/// Interval of the check.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// A commit of the last 5 seconds replaces the probe.
const SUCCESS_VALID_FOR: Duration = Duration::from_secs(5);
/// After this timeout the check fails.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Time of the last successful commit; `None` if the last batch could not be committed. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct CommitProbe(watch::Sender<Option<Instant>>);

impl CommitProbe {
    /// A batch was committed.
    pub fn record_success(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// A batch was not committed within its timeout.
    pub fn record_failure(&self) {
        self.0.send_replace(None);
    }

    fn succeeded_lately(&self) -> bool {
        self.0.borrow().is_some_and(|at| at.elapsed() < SUCCESS_VALID_FOR)
    }

    /// Updates the check until `stop`. Notifies the maintenance of a missing partition.
    pub async fn run(
        self,
        pool: PgPool,
        check: Latch,
        partitions: Arc<Notify>,
        stop: CancellationToken,
    ) -> sqlx::Result<()> {
        let mut ticks = tokio::time::interval(PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return Ok(()),
            }
            if self.succeeded_lately() {
                ::metrics::gauge!(metrics::DATABASE_READ_ONLY).set(0.0);
                check.ready();
                continue;
            }
            let mut attempt = pin!(within(commit_probe(&pool)));
            let ended = match tokio::time::timeout(PROBE_TIMEOUT, &mut attempt).await {
                Ok(ended) => ended,
                Err(_) => {
                    check.not_ready("PostgreSQL does not commit in time");
                    // Not abandoned: the session would get the lock later, and keep it.
                    attempt.await
                }
            };
            let read_only = ended.as_ref().is_err_and(is_read_only_error);
            ::metrics::gauge!(metrics::DATABASE_READ_ONLY).set(f64::from(u8::from(read_only)));
            match ended {
                Ok(()) => {
                    self.record_success();
                    check.ready();
                }
                Err(error) if misses_partition(&error) => {
                    check.not_ready("there are no partitions for today");
                    partitions.notify_one();
                }
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "cannot commit");
                    check.not_ready(if read_only {
                        "PostgreSQL is read-only: a standby, or default_transaction_read_only is on"
                    } else {
                        "PostgreSQL does not commit"
                    });
                }
            }
        }
    }
}

async fn commit_probe(pool: &PgPool) -> sqlx::Result<()> {
    let mut connection = service_kit::postgres::acquire(pool).await?;
    let mut transaction = head::begin_locked(&mut connection).await?;
    probe::insert_and_roll_back(&mut transaction).await?;
    transaction.commit().await
}
