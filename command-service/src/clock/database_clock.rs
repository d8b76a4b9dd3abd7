//! Reads PostgreSQL's clock and compares it with this process's clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use service_kit::Latch;
use service_kit::clock::SharedClock;
use service_kit::telemetry::chain;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::judge::{Distrust, Judge, Reading, Witness};
use crate::metrics;
use crate::store;

/// Interval of comparisons, in addition to each use.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval in which the record is renewed while the clock is trusted.
const RECORD_INTERVAL: time::Duration = time::Duration::MINUTE;

/// PostgreSQL's clock, with a judgement of whether it can be trusted. Clones share the judgement.
#[derive(Clone, Debug)]
pub struct DatabaseClock {
    clock: SharedClock,
    judge: Arc<Mutex<Judge>>,
    /// What this process has recorded about its current distrust: 1 for a suspension, 2 for a jump. If another process,
    /// which trusts the clock, revokes the record, this process is at fault and does not write it again.
    noted: Arc<AtomicU8>,
}

impl DatabaseClock {
    /// Trusts nothing until [`Self::watch`] has read the record.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, judge: Arc::default(), noted: Arc::default() }
    }

    /// PostgreSQL's time of day; `None` if it is not trusted.
    pub async fn trusted_now(&self, connection: &mut PgConnection) -> sqlx::Result<Option<OffsetDateTime>> {
        let before = Witness::read(&*self.clock);
        let database = store::clock::now(connection).await?;
        let reading = Reading { database, before, after: Witness::read(&*self.clock) };
        Ok(self.judge.lock().judge(&reading).is_ok().then_some(database))
    }

    /// Dates of clients from this time on are in the future, see [`Judge::earliest`].
    pub fn earliest(&self, database: OffsetDateTime) -> OffsetDateTime {
        self.judge.lock().earliest(database, &*self.clock)
    }

    /// Dates of clients after this time are in the future, see [`Judge::latest`]. Does not ask PostgreSQL.
    pub fn latest(&self) -> OffsetDateTime {
        self.judge.lock().latest(&*self.clock)
    }

    /// The time of day that dates commits, within about a minute. Does not ask PostgreSQL.
    pub fn now(&self) -> OffsetDateTime {
        self.judge.lock().now(&*self.clock)
    }

    /// Compares the clocks once. Until then, dates of clients are judged by this process's clock alone.
    pub async fn read(&self, pool: &PgPool) -> sqlx::Result<()> {
        store::within(self.compare(pool)).await.map(drop)
    }

    /// Compares the clocks until `stop`, and updates the check, the metrics and the record in PostgreSQL.
    pub async fn watch(self, pool: PgPool, check: Latch, stop: CancellationToken) -> sqlx::Result<()> {
        let mut ticks = tokio::time::interval(COMPARE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trusted = true;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return Ok(()),
            }
            match store::within(self.compare(&pool)).await {
                Ok(verdict) => {
                    ::metrics::gauge!(metrics::CLOCK_TRUSTED).set(f64::from(u8::from(verdict.is_ok())));
                    match &verdict {
                        Ok(()) => check.ready(),
                        Err(distrust) => {
                            check.not_ready(&distrust.to_string());
                            if trusted {
                                tracing::error!(%distrust, "expiry and partition drops wait");
                                ::metrics::counter!(metrics::CLOCK_DISTRUSTED, "cause" => distrust.cause())
                                    .increment(1);
                            }
                        }
                    }
                    trusted = verdict.is_ok();
                }
                // The check `postgres` reports it.
                Err(error) => tracing::debug!(error = %chain(&error), "cannot read PostgreSQL's clock"),
            }
        }
    }

    async fn compare(&self, pool: &PgPool) -> sqlx::Result<Result<(), Distrust>> {
        let mut connection = service_kit::postgres::acquire(pool).await?;
        let before = Witness::read(&*self.clock);
        let (database, record) = store::clock::read(&mut connection).await?;
        let reading = Reading { database, before, after: Witness::read(&*self.clock) };
        let (verdict, difference) = {
            let mut judge = self.judge.lock();
            judge.note(record.clone(), &reading);
            (judge.judge(&reading), judge.difference(&reading))
        };
        ::metrics::gauge!(metrics::CLOCK_DIFFERENCE_SECONDS).set(difference.as_seconds_f64());
        if verdict.is_ok() {
            self.noted.store(0, Ordering::Relaxed);
        }
        match &verdict {
            Ok(()) if record.suspended || record.jumped.is_some() => {
                store::clock::trust(&mut connection, record.accepted).await?;
                tracing::info!("PostgreSQL's clock is trusted again");
            }
            Ok(()) if record.seen_at.is_none_or(|seen| database - seen > RECORD_INTERVAL) => {
                store::clock::seen(&mut connection).await?;
            }
            Err(Distrust::Unread | Distrust::Noted(_)) | Ok(()) => {}
            Err(distrust) => {
                let jumped = distrust.is_jump().then(|| distrust.to_string());
                let unknown = !record.suspended || (jumped.is_some() && record.jumped.is_none());
                let weight = if jumped.is_some() { 2 } else { 1 };
                if unknown && self.noted.load(Ordering::Relaxed) < weight {
                    store::clock::distrust(&mut connection, jumped.as_deref(), record.accepted).await?;
                    // Only after a successful write; otherwise the next comparison writes it.
                    self.noted.store(weight, Ordering::Relaxed);
                }
            }
        }
        Ok(verdict)
    }
}
