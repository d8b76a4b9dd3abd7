//! Announcements on core NATS: position, health and repaired accounts, after each change and at least twice a second.
//!
//! While NATS is down, announcements are dropped; the next one has everything. Repaired accounts are kept until an
//! announcement with them has left over a connection: a subscriber that caches edges would keep wrong ones otherwise.
//! query-service does not read them: it caches no edges.

use std::collections::BTreeSet;
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

/// Interval of announcements without a change.
const EVERY: Duration = Duration::from_millis(500);
/// Limit of repaired accounts in one announcement: 40 KB, far below NATS' limit.
const MOST_REPAIRED: usize = 1_000;
/// Limit of repaired accounts that wait for a connection: some 10 MB.
const MOST_WAITING: usize = 100_000;

/// Sends the announcements.
pub struct Announcer {
    /// Part of the subject.
    pub name: String,
    /// The connection to NATS.
    pub nats: Nats,
    /// Dates the announcements.
    pub clock: SharedClock,
    /// What is announced.
    pub status: watch::Receiver<Status>,
    /// Ids of accounts whose edges were repaired.
    pub repaired: mpsc::UnboundedReceiver<Vec<String>>,
    /// For the lag of a stuck read model.
    pub heard: Arc<HeardHead>,
}

/// Measures the lag of a read model that does not move, which the engine does not see: it knows the lag of applied
/// events only.
#[derive(Debug, Default)]
struct Stuck {
    at: Option<(Token, Instant)>,
}

impl Stuck {
    /// How long `visible` has been behind the head without a change.
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

/// Repaired accounts that are not announced yet.
#[derive(Debug, Default)]
struct Repaired(BTreeSet<String>);

impl Repaired {
    /// Adds accounts up to the limit.
    fn add(&mut self, ids: Vec<String>) {
        let before = self.0.len();
        let room = MOST_WAITING.saturating_sub(before);
        let more = ids.len();
        self.0.extend(ids.into_iter().take(room));
        if more > room {
            tracing::warn!(dropped = more - room, "too many repaired accounts wait for NATS");
        }
    }

    /// The accounts of the next announcement.
    fn next(&self) -> Vec<String> {
        self.0.iter().take(MOST_REPAIRED).cloned().collect()
    }

    /// Removes accounts that were announced.
    fn announced(&mut self, ids: &[String]) {
        for id in ids {
            self.0.remove(id);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Announcer {
    /// Announces until `stop`, and once more then.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut repaired = Repaired::default();
        let mut stuck = Stuck::default();
        loop {
            let stopping = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
                Ok(()) = self.status.changed() => false,
                Some(ids) = self.repaired.recv() => { repaired.add(ids); false }
            };
            while let Ok(ids) = self.repaired.try_recv() {
                repaired.add(ids);
            }
            self.announce(&mut repaired, &mut stuck).await;
            if stopping {
                // The connection writes in the background.
                let _ = tokio::time::timeout(EVERY, self.nats.client.flush()).await;
                return Ok(());
            }
        }
    }

    async fn announce(&mut self, repaired: &mut Repaired, stuck: &mut Stuck) {
        let mut status = self.status.borrow_and_update().clone();
        let stuck = stuck.lag(&status, self.heard.head(), Instant::now()).as_micros();
        status.lag_micros = status.lag_micros.max(u64::try_from(stuck).unwrap_or(u64::MAX));
        loop {
            let ids = repaired.next();
            if !self.publish(&status, &ids).await {
                return;
            }
            repaired.announced(&ids);
            if repaired.is_empty() {
                return;
            }
        }
    }

    /// Publishes an announcement; false if it may not have left.
    async fn publish(&self, status: &Status, repaired: &[String]) -> bool {
        // Without a connection the client would keep the message and send it late.
        if !self.nats.is_connected() {
            return false;
        }
        let message = message(&self.name, status, repaired.to_vec(), &self.clock).encode_to_vec();
        if let Err(error) = self.nats.client.publish(subjects::projector(&self.name), message.into()).await {
            tracing::debug!(%error, "cannot announce");
            return false;
        }
        // Only these are worth the wait.
        let left = repaired.is_empty()
            || tokio::time::timeout(EVERY, self.nats.client.flush())
                .await
                .is_ok_and(|flushed| flushed.is_ok());
        left && self.nats.is_connected()
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
    fn repaired_accounts_wait_until_they_are_announced() {
        let ids = |numbers: std::ops::Range<usize>| numbers.map(|n| format!("{n:06}")).collect::<Vec<_>>();
        let mut repaired = Repaired::default();
        repaired.add(ids(0..1_500));
        repaired.add(ids(0..10));
        let first = repaired.next();
        assert_eq!(first, ids(0..1_000));
        assert_eq!(repaired.next(), first, "that one may not have left");
        repaired.announced(&first);
        assert_eq!(repaired.next(), ids(1_000..1_500));
        repaired.add(ids(2_000..2_000 + MOST_WAITING));
        assert_eq!(repaired.0.len(), MOST_WAITING);
    }

    #[test]
    fn the_lag_of_a_stuck_read_model_grows() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let status = |visible| Status { epoch: Epoch(1), visible: Revision(visible), ..Status::starting() };
        let head = |revision| Some(Token::new(Epoch(1), Revision(revision)));
        let mut stuck = Stuck::default();
        assert_eq!(stuck.lag(&status(7), head(7), second(0)), Duration::ZERO);
        // However long ago the last write was.
        assert_eq!(stuck.lag(&status(7), head(8), second(100)), Duration::ZERO);
        assert_eq!(stuck.lag(&status(7), head(9), second(103)), Duration::from_secs(3));
        // A read model that moves is not stuck; the engine's own figure counts.
        assert_eq!(stuck.lag(&status(8), head(20), second(104)), Duration::ZERO);
        assert_eq!(stuck.lag(&status(8), head(20), second(106)), Duration::from_secs(2));
        assert_eq!(stuck.lag(&status(20), head(20), second(107)), Duration::ZERO);
        assert_eq!(stuck.lag(&status(8), None, second(200)), Duration::ZERO);
    }
}
