//! The projectors: where each stands, as they announce it on core NATS.
//!
//! Owns: the list for status, the brake for imports, and the record in PostgreSQL
//! that keeps the outbox from being pruned ahead of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use futures::StreamExt as _;
use prost::Message as _;
use proto::events::v1::ProjectorAnnouncement;
use proto::graph::v1::ReplicaStatus;
use proto::{Epoch, Revision, Token, subjects};
use service_kit::telemetry::chain;
use sqlx::PgPool;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::store;

/// One that was silent for longer is not shown and slows nothing down.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// One that was silent for longer is taken for dead: an import does not wait for it.
const DEAD: Duration = Duration::from_secs(5);
/// How often the record is written.
const RECORD: Duration = Duration::from_secs(10);
/// The longest that one chunk of an import is held up: an import never stands still.
const LONGEST_BRAKE: Duration = Duration::from_millis(250);

/// What was heard. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Projectors(Arc<Mutex<BTreeMap<String, (ProjectorAnnouncement, Instant)>>>);

impl Projectors {
    fn note(&self, announcement: ProjectorAnnouncement) {
        self.lock().insert(announcement.name.clone(), (announcement, Instant::now()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (ProjectorAnnouncement, Instant)>> {
        // The map is whole at any time: nothing panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those heard of lately, against a head.
    pub fn statuses(&self, head: Option<Token>) -> Vec<ReplicaStatus> {
        let mut all = self.lock();
        all.retain(|_, (_, at)| at.elapsed() < FORGOTTEN);
        all.values().map(|(announcement, _)| status(announcement, head)).collect()
    }

    /// How far the slowest live one is behind.
    fn lag(&self) -> Duration {
        self.lock()
            .values()
            .filter(|(_, at)| at.elapsed() < DEAD)
            .map(|(announcement, _)| Duration::from_micros(announcement.lag_micros))
            .max()
            .unwrap_or_default()
    }

    /// Holds up a chunk of an import while a live read model is too far behind.
    pub async fn brake(&self, max_lag: Duration) {
        let lag = self.lag();
        if lag > max_lag {
            ::metrics::counter!(metrics::IMPORT_CHUNKS_THROTTLED).increment(1);
            tokio::time::sleep((lag - max_lag).min(LONGEST_BRAKE)).await;
        }
    }

    /// Listens until `stop`.
    pub async fn listen(
        self,
        client: Client,
        pool: PgPool,
        stop: CancellationToken,
    ) -> Result<(), async_nats::SubscribeError> {
        let mut announcements = client.subscribe(subjects::PROJECTORS_WILDCARD).await?;
        let mut record = tokio::time::interval(RECORD);
        record.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(message) = announcements.next() => match ProjectorAnnouncement::decode(message.payload) {
                    Ok(announcement) => self.note(announcement),
                    Err(error) => tracing::warn!(%error, "an announcement of a projector cannot be read"),
                },
                _ = record.tick() => {
                    if let Err(error) = self.record(&pool).await {
                        tracing::warn!(error = %chain(&error), "cannot record the projectors");
                    }
                }
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn record(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let heard: Vec<_> = self
            .lock()
            .values()
            // One that has not opened its read model yet does not know where it stands.
            .filter(|(announcement, at)| at.elapsed() < RECORD && announcement.epoch != 0)
            .map(|(a, _)| (a.name.clone(), Epoch(a.epoch), Revision(a.revision)))
            .collect();
        if heard.is_empty() {
            return Ok(());
        }
        let mut connection = service_kit::postgres::acquire(pool).await?;
        for (name, epoch, revision) in heard {
            store::projectors::put(&mut connection, &name, epoch, revision).await?;
        }
        Ok(())
    }
}

fn status(a: &ProjectorAnnouncement, head: Option<Token>) -> ReplicaStatus {
    // Revisions of another history say nothing about this one.
    let elsewhere = head.filter(|head| head.epoch.0 != a.epoch);
    ReplicaStatus {
        name: a.name.clone(),
        revision: a.revision,
        visible: a.visible,
        complete: a.complete && elsewhere.is_none(),
        sweep_progress: a.sweep_progress,
        differences: a.differences,
        lag_revisions: head.map_or(0, |head| head.revision.0.saturating_sub(a.visible)),
        lag: prost_types::Duration::try_from(Duration::from_micros(a.lag_micros)).ok(),
        seen_at: a.sent_at,
        problem: match elsewhere {
            Some(head) => format!("it follows epoch {}, not {}", a.epoch, head.epoch),
            None => a.problem.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announce(name: &str, lag: Duration) -> ProjectorAnnouncement {
        let lag_micros = u64::try_from(lag.as_micros()).expect("short");
        ProjectorAnnouncement { name: name.to_owned(), lag_micros, ..ProjectorAnnouncement::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn imports_wait_for_live_projectors_and_never_for_long() {
        let projectors = Projectors::default();
        projectors.note(announce("fast", Duration::from_millis(5)));
        projectors.note(announce("slow", Duration::from_secs(3600)));
        let before = Instant::now();
        projectors.brake(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed(), LONGEST_BRAKE);

        tokio::time::advance(DEAD).await;
        projectors.note(announce("fast", Duration::from_millis(5)));
        let before = Instant::now();
        projectors.brake(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(projectors.statuses(None).len(), 2);
    }

    #[tokio::test]
    async fn a_projector_of_another_epoch_is_not_complete() {
        let projectors = Projectors::default();
        projectors.note(ProjectorAnnouncement {
            epoch: 1,
            complete: true,
            ..announce("old", Duration::ZERO)
        });
        let status = |epoch| projectors.statuses(Some(Token::new(Epoch(epoch), Revision(5))));
        assert!(status(1)[0].complete && status(1)[0].problem.is_empty());
        assert!(!status(2)[0].complete && status(2)[0].problem.contains("epoch 1"));
    }
}
