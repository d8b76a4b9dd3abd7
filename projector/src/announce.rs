//! Announcements on core NATS.
//!
//! Owns: telling others where this projector stands, after each change and at least twice a second, and which accounts
//! were repaired. Must not know: how it came about.
//! What can go wrong: NATS is away; then nobody is told, and the next announcement tells all but repaired accounts, which
//! others drop from their caches by age anyway.

use std::time::Duration;

use prost::Message as _;
use proto::{events, subjects, timestamp};
use service_kit::clock::SharedClock;
use service_kit::nats::Nats;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::status::Status;

/// Longest silence.
const EVERY: Duration = Duration::from_millis(500);
/// Most repaired accounts in one announcement: 40 KB, far below NATS' limit.
const MOST_REPAIRED: usize = 1_000;

/// The announcer's parts.
pub struct Announcer {
    /// The projector's name.
    pub name: String,
    /// The server.
    pub nats: Nats,
    /// The time of day.
    pub clock: SharedClock,
    /// The figures.
    pub status: watch::Receiver<Status>,
    /// Accounts that were repaired.
    pub repaired: mpsc::UnboundedReceiver<Vec<String>>,
}

impl Announcer {
    /// Announces until told to stop, and once more then.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut repaired = Vec::new();
        loop {
            let stopping = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
                Ok(()) = self.status.changed() => false,
                Some(ids) = self.repaired.recv() => { repaired.extend(ids); false }
            };
            while let Ok(ids) = self.repaired.try_recv() {
                repaired.extend(ids);
            }
            self.announce(&mut repaired).await;
            if stopping {
                // The connection writes in the background.
                let _ = tokio::time::timeout(EVERY, self.nats.client.flush()).await;
                return Ok(());
            }
        }
    }

    async fn announce(&mut self, repaired: &mut Vec<String>) {
        repaired.sort_unstable();
        repaired.dedup();
        let status = self.status.borrow_and_update().clone();
        loop {
            let rest = repaired.split_off(repaired.len().min(MOST_REPAIRED));
            let message = message(&self.name, &status, std::mem::replace(repaired, rest), &self.clock);
            // Without a connection the client would keep it and send stale news later.
            if self.nats.is_connected()
                && let Err(error) = self
                    .nats
                    .client
                    .publish(subjects::projector(&self.name), message.encode_to_vec().into())
                    .await
            {
                tracing::debug!(%error, "cannot announce");
            }
            if repaired.is_empty() {
                return;
            }
        }
    }
}

fn message(
    name: &str,
    status: &Status,
    repaired_user_ids: Vec<String>,
    clock: &SharedClock,
) -> events::v1::ProjectorAnnouncement {
    events::v1::ProjectorAnnouncement {
        name: name.to_owned(),
        epoch: status.epoch.0,
        revision: status.revision.0,
        visible: status.visible.0,
        complete: status.complete,
        sweep_progress: status.sweep_progress,
        differences: status.differences,
        lag_micros: status.lag_micros,
        problem: status.problem(),
        repaired_user_ids,
        sent_at: Some(timestamp::to_proto(clock.now())),
    }
}
