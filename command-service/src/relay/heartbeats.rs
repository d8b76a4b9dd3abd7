//! Heartbeats of all epochs on this NATS: which epochs are in use.
//!
//! A restored copy of a database may use the NATS of the original. Before the relay deletes the stream of an earlier
//! epoch, no process may still serve that epoch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, SubscribeError};
use event_log::heartbeat::PROBE;
use parking_lot::Mutex;
use prost::Message as _;
use proto::events::v1::Beacon;
use proto::{Epoch, subjects};
use service_kit::nats;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Each process sends a heartbeat twice a second. After a longer gap, heartbeats may have been missed.
const LONGEST_GAP: Duration = Duration::from_secs(3);
/// Epochs without a heartbeat for this time are dropped from memory.
const KEPT: Duration = Duration::from_secs(3600);

/// Heartbeats of one epoch without a gap.
#[derive(Clone, Copy, Debug)]
struct Run {
    began: Instant,
    last: Instant,
}

/// Received heartbeats by epoch. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats(Arc<Mutex<BTreeMap<Epoch, Run>>>);

impl Heartbeats {
    /// Listens until `stop`.
    pub async fn listen(self, client: Client, stop: CancellationToken) -> Result<(), SubscribeError> {
        let note = |message: Message| {
            if let Ok(beacon) = Beacon::decode(message.payload) {
                self.note(Epoch(beacon.epoch), Instant::now());
            }
        };
        nats::listen(client, subjects::HEARTBEAT, note, stop).await
    }

    fn note(&self, epoch: Epoch, now: Instant) {
        let mut runs = self.0.lock();
        runs.retain(|_, run| now.saturating_duration_since(run.last) < KEPT);
        let run = runs.entry(epoch).or_insert(Run { began: now, last: now });
        if now.saturating_duration_since(run.last) > LONGEST_GAP {
            run.began = now;
        }
        run.last = now;
    }

    /// How long an epoch has sent no heartbeat while probes arrived. Zero without probes: this process may receive
    /// nothing at all.
    pub fn silence(&self, epoch: Epoch, now: Instant) -> Duration {
        let runs = self.0.lock();
        let Some(run) = runs.get(&PROBE) else { return Duration::ZERO };
        if now.saturating_duration_since(run.last) > LONGEST_GAP {
            return Duration::ZERO;
        }
        let since = runs.get(&epoch).map_or(run.began, |other| other.last.max(run.began));
        now.saturating_duration_since(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_only_while_probes_arrive() {
        let (heartbeats, start) = (Heartbeats::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let silence = |now| heartbeats.silence(Epoch(1), at(now)).as_secs();
        assert_eq!(silence(60), 0, "nothing was heard at all");
        heartbeats.note(Epoch(1), at(0));
        (1..=10).for_each(|second| heartbeats.note(PROBE, at(second)));
        assert_eq!(silence(10), 9);
        heartbeats.note(Epoch(1), at(10));
        (11..=20).for_each(|second| heartbeats.note(PROBE, at(second)));
        assert_eq!(silence(20), 10);
        assert_eq!(silence(30), 0, "cut off since");
        heartbeats.note(PROBE, at(30));
        assert_eq!(silence(31), 1, "what came in the gap is not known");
    }
}
