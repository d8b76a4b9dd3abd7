//! Announcements on core NATS: position, health and repaired accounts, after each change and at least twice a second.
//!
//! While NATS is down nothing is announced. Then the next announcement has everything but the repaired accounts, which
//! query-service drops from its caches by age.

use std::sync::Arc;
use std::time::Duration;

use event_log::KnownHead as _;
use event_log::heartbeat::HeardHead;
use prost::Message as _;
use proto::{Token, events, subjects, timestamp};
use service_kit::clock::SharedClock;
use service_kit::nats::Nats;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
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
    /// The head of the newest heartbeat.
    pub heard: Arc<HeardHead>,
}

/// The lag of a read model that does not move: the engine knows only of what it has applied.
#[derive(Debug, Default)]
struct Stuck {
    at: Option<(Token, Instant)>,
}

impl Stuck {
    /// For how long what is visible has been behind the head without a change.
    fn lag(&mut self, status: &Status, head: Option<Token>, now: Instant) -> Duration {
        let visible = Token::new(status.epoch, status.visible);
        let behind = head.is_some_and(|head| head.epoch == visible.epoch && head > visible);
        self.at = match self.at {
            _ if !behind => None,
            Some((at, since)) if at == visible => Some((at, since)),
            _ => Some((visible, now)),
        };
        self.at.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since))
    }
}

impl Announcer {
    /// Announces until told to stop, and once more then.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut repaired = Vec::new();
        let mut stuck = Stuck::default();
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
            self.announce(&mut repaired, &mut stuck).await;
            if stopping {
                // The connection writes in the background.
                let _ = tokio::time::timeout(EVERY, self.nats.client.flush()).await;
                return Ok(());
            }
        }
    }

    async fn announce(&mut self, repaired: &mut Vec<String>, stuck: &mut Stuck) {
        repaired.sort_unstable();
        repaired.dedup();
        let mut status = self.status.borrow_and_update().clone();
        let stuck = stuck.lag(&status, self.heard.head(), Instant::now()).as_micros();
        status.lag_micros = status.lag_micros.max(u64::try_from(stuck).unwrap_or(u64::MAX));
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
        differences_at: status.differences_at.map(timestamp::to_proto),
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Revision};

    use super::*;

    #[test]
    fn a_read_model_that_stands_still_lags_more_and_more() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let status = |visible| Status { epoch: Epoch(1), visible: Revision(visible), ..Status::starting() };
        let head = |revision| Some(Token::new(Epoch(1), Revision(revision)));
        let mut stuck = Stuck::default();
        assert_eq!(stuck.lag(&status(7), head(7), second(0)), Duration::ZERO);
        // However long nothing was written.
        assert_eq!(stuck.lag(&status(7), head(8), second(100)), Duration::ZERO);
        assert_eq!(stuck.lag(&status(7), head(9), second(103)), Duration::from_secs(3));
        // One that moves is not stuck; what it says itself counts.
        assert_eq!(stuck.lag(&status(8), head(20), second(104)), Duration::ZERO);
        assert_eq!(stuck.lag(&status(8), head(20), second(106)), Duration::from_secs(2));
        assert_eq!(stuck.lag(&status(20), head(20), second(107)), Duration::ZERO);
        assert_eq!(stuck.lag(&status(8), None, second(200)), Duration::ZERO);
    }
}
