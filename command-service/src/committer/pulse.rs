//! Whether commits go through: what the readiness of this process is about.
//!
//! Owns: the check `commits`. It must not know what is committed.
//!
//! The committer tells how its batches end. Where none has ended well for a while, the head is locked, rows are inserted
//! and taken back, and the lock committed: that takes the lock, needs today's partitions, writes the log to disk and waits
//! for the standbys that must have it, as a command's transaction does. A database that only answers reads (a full disk, a
//! standby, a lock that nobody gives back) is not enough.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use service_kit::Latch;
use service_kit::postgres::says_read_only;
use service_kit::telemetry::chain;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::store::{head, misses_partition, probe, within};

/// How often the pulse is felt.
const PERIOD: Duration = Duration::from_millis(500);
/// A commit counts for so long.
const FRESH: Duration = Duration::from_secs(5);
/// What takes longer is as good as down.
const PATIENCE: Duration = Duration::from_secs(3);

/// When a commit last went through; none if the last batch could not be committed. Clones share it.
#[derive(Clone, Debug)]
pub struct Pulse(watch::Sender<Option<Instant>>);

impl Default for Pulse {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Pulse {
    /// A commit went through.
    pub fn beat(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// A commit did not go through, for as long as it was tried.
    pub fn stop(&self) {
        self.0.send_replace(None);
    }

    fn is_fresh(&self) -> bool {
        self.0.borrow().is_some_and(|beat| beat.elapsed() < FRESH)
    }

    /// Keeps the check true to it until `stop`. Notifies the upkeep of a missing partition.
    pub async fn watch(
        self,
        pool: PgPool,
        check: Latch,
        partitions: Arc<Notify>,
        stop: CancellationToken,
    ) -> Result<(), sqlx::Error> {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return Ok(()),
            }
            if self.is_fresh() {
                ::metrics::gauge!(metrics::DATABASE_READ_ONLY).set(0.0);
                check.ready();
                continue;
            }
            let mut attempt = pin!(within(commit_a_lock(&pool)));
            let ended = match tokio::time::timeout(PATIENCE, &mut attempt).await {
                Ok(ended) => ended,
                Err(_) => {
                    check.not_ready("PostgreSQL does not commit in time");
                    // To its end: a session that is left waiting for the lock would get it one day, and keep it.
                    attempt.await
                }
            };
            let read_only = ended.as_ref().is_err_and(says_read_only);
            ::metrics::gauge!(metrics::DATABASE_READ_ONLY).set(f64::from(u8::from(read_only)));
            match ended {
                Ok(()) => {
                    self.beat();
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

async fn commit_a_lock(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut connection = service_kit::postgres::acquire(pool).await?;
    let mut transaction = head::begin_locked(&mut connection).await?;
    probe::insert_and_take_back(&mut transaction).await?;
    transaction.commit().await
}
