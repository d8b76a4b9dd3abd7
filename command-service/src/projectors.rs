//! Announcements of projectors: the status of read models, the throttle of imports and jobs, and the record in
//! PostgreSQL that keeps events in the outbox for slow projectors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use event_log::projectors::{self, ProjectorRegistry};
use proto::graph::v1::ReplicaStatus;
use proto::{Epoch, Revision, Token};
use service_kit::telemetry::chain;
use sqlx::PgPool;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::store;

/// A projector that was silent for longer is down and throttles nothing.
const DOWN_AFTER: Duration = Duration::from_secs(5);
/// Interval of the record.
const RECORD_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum pause of one chunk of an import: a throttled import never stops.
const LONGEST_THROTTLE: Duration = Duration::from_millis(250);

/// The known projectors. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Projectors {
    registry: ProjectorRegistry,
    /// The epoch of this database; 0 before it is known. A projector of a later epoch follows another database, for
    /// example that of a rehearsal.
    epoch: Arc<AtomicU64>,
}

impl Projectors {
    /// The status of each projector, compared with the head.
    pub fn statuses(&self, head: Option<Token>) -> Vec<ReplicaStatus> {
        self.registry.statuses(head, Instant::now())
    }

    /// Lag of the slowest live projector of this database.
    fn lag(&self) -> Duration {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let live = self.registry.heard_within(DOWN_AFTER, Instant::now());
        let ours = live.iter().filter(|announced| epoch == 0 || announced.epoch <= epoch);
        ours.map(|announced| Duration::from_micros(announced.lag_micros)).max().unwrap_or_default()
    }

    /// Pauses, for 250 ms at most, if a live read model lags by more than `max_lag`.
    pub async fn throttle(&self, max_lag: Duration) {
        let lag = self.lag();
        if lag > max_lag {
            ::metrics::counter!(metrics::IMPORT_CHUNKS_THROTTLED).increment(1);
            tokio::time::sleep((lag - max_lag).min(LONGEST_THROTTLE)).await;
        }
    }

    /// Listens until `stop`.
    pub async fn listen(
        self,
        client: Client,
        pool: PgPool,
        stop: CancellationToken,
    ) -> Result<(), async_nats::SubscribeError> {
        let note = |received| match received {
            Ok(announcement) => self.registry.note(announcement, Instant::now()),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "an announcement is ignored");
            }
        };
        tokio::select! {
            outcome = projectors::listen(client, note, stop) => outcome,
            never = self.keep_record(&pool) => match never {},
        }
    }

    async fn keep_record(&self, pool: &PgPool) -> std::convert::Infallible {
        let mut ticks = tokio::time::interval(RECORD_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = store::within(self.record(pool)).await {
                tracing::warn!(error = %chain(&error), "cannot record the projectors");
            }
        }
    }

    async fn record(&self, pool: &PgPool) -> sqlx::Result<()> {
        let mut connection = service_kit::postgres::acquire(pool).await?;
        let epoch = store::head::get(&mut connection).await?.epoch;
        self.epoch.store(epoch.0, Ordering::Relaxed);
        let mut announced = self.registry.heard_within(RECORD_INTERVAL, Instant::now());
        // Epoch 0: the projector has not opened its read model yet. A later epoch: it follows another database, and may
        // have the name of one of ours.
        announced.retain(|projector| projector.epoch != 0 && projector.epoch <= epoch.0);
        for projector in announced {
            let (epoch, revision) = (Epoch(projector.epoch), Revision(projector.revision));
            store::projectors::put(&mut connection, &projector.name, epoch, revision).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proto::events::v1::ProjectorAnnouncement;

    use super::*;

    fn announce(name: &str, lag: Duration) -> ProjectorAnnouncement {
        let lag_micros = u64::try_from(lag.as_micros()).expect("short");
        ProjectorAnnouncement { name: name.to_owned(), lag_micros, ..ProjectorAnnouncement::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn imports_are_throttled_by_live_projectors_only() {
        let projectors = Projectors::default();
        projectors.registry.note(announce("fast", Duration::from_millis(5)), Instant::now());
        projectors.registry.note(announce("slow", Duration::from_secs(3600)), Instant::now());
        let before = Instant::now();
        projectors.throttle(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed(), LONGEST_THROTTLE);

        tokio::time::advance(DOWN_AFTER).await;
        projectors.registry.note(announce("fast", Duration::from_millis(5)), Instant::now());
        let before = Instant::now();
        projectors.throttle(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        // The projector of a rehearsal.
        projectors.epoch.store(7, Ordering::Relaxed);
        let other = ProjectorAnnouncement { epoch: 8, ..announce("rehearsal", Duration::from_secs(3600)) };
        projectors.registry.note(other, Instant::now());
        projectors.throttle(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        let head = Some(Token::new(Epoch(7), Revision(1)));
        assert_eq!(projectors.statuses(head).len(), 2);
    }
}
