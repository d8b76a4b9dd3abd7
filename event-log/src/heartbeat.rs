//! Heartbeats on core NATS: command-service sends the head twice a second.
//!
//! They get lost, arrive out of order, and stop; a process that must know the head asks PostgreSQL then.

use std::time::Duration;

use async_nats::{Client, Message, SubscribeError};
use parking_lot::Mutex;
use prost::{DecodeError, Message as _};
use prost_types::Timestamp;
use proto::events::v1::Beacon;
use proto::{Epoch, Revision, Token, subjects, timestamp};
use service_kit::nats::{self, Nats};
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::sources::KnownHead;

/// Older heartbeats are ignored.
const FRESH: Duration = Duration::from_secs(2);

/// The epoch of a heartbeat from a process whose history has no stream on this NATS. It proves to that process that it
/// hears heartbeats, and says nothing to others.
pub const PROBE: Epoch = Epoch(0);

/// The head as of some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The newest committed revision.
    pub head: Token,
    /// Time of sending, by PostgreSQL's clock.
    pub sent_at: Timestamp,
}

/// A heartbeat, and when it was heard.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// The heartbeat.
    pub heartbeat: Heartbeat,
    /// Time of arrival, by a clock that never jumps.
    pub at: Instant,
}

impl Heard {
    /// PostgreSQL's time of day now, if its clock has not jumped since; `None` if the heartbeat has no time.
    pub fn time(&self, now: Instant) -> Option<OffsetDateTime> {
        let sent_at = Some(&self.heartbeat.sent_at).filter(|sent_at| **sent_at != Timestamp::default());
        Some(timestamp::from_proto(sent_at?).ok()? + now.saturating_duration_since(self.at))
    }
}

impl Heartbeat {
    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let sent = Beacon::decode(payload)?;
        Ok(Self {
            head: Token::new(Epoch(sent.epoch), Revision(sent.head)),
            sent_at: sent.sent_at.unwrap_or_default(),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let Token { epoch, revision } = self.head;
        Beacon { epoch: epoch.0, head: revision.0, sent_at: Some(self.sent_at) }.encode_to_vec()
    }
}

/// Sends a heartbeat, unless NATS is away: the client would keep it and send it late.
pub async fn send(nats: &Nats, heartbeat: &Heartbeat) {
    if nats.is_connected() {
        // Listeners notice lost heartbeats.
        let _ = nats.client.publish(subjects::HEARTBEAT, heartbeat.encode().into()).await;
    }
}

/// Passes each heartbeat to `heard`, except probes, until `stop`.
pub async fn listen(
    client: Client,
    mut heard: impl FnMut(Result<Heartbeat, DecodeError>) + Send,
    stop: CancellationToken,
) -> Result<(), SubscribeError> {
    let heard = |message: Message| match Heartbeat::decode(&message.payload) {
        Ok(heartbeat) if heartbeat.head.epoch == PROBE => {}
        decoded => heard(decoded),
    };
    nats::listen(client, subjects::HEARTBEAT, heard, stop).await
}

/// The newest heartbeat, with the newest head.
#[derive(Debug, Default)]
pub struct HeardHead(Mutex<Option<Heard>>);

impl HeardHead {
    /// Notes a heartbeat. Several processes send them, and they arrive out of order: the head goes back only with
    /// another epoch, or after silence.
    pub fn note(&self, heartbeat: &Heartbeat, now: Instant) {
        let mut newest = self.0.lock();
        let same =
            |heard: &Heard| heard.heartbeat.head.epoch == heartbeat.head.epoch && is_fresh(heard.at, now);
        let known = newest.filter(same).map(|heard| heard.heartbeat.head);
        let head = known.map_or(heartbeat.head, |known| known.max(heartbeat.head));
        *newest = Some(Heard { heartbeat: Heartbeat { head, ..*heartbeat }, at: now });
    }

    /// The newest head, however long ago it was heard.
    pub fn last(&self) -> Option<Token> {
        self.0.lock().map(|heard| heard.heartbeat.head)
    }

    /// PostgreSQL's time of day, from the newest heartbeat.
    pub fn time(&self, now: Instant) -> Option<OffsetDateTime> {
        self.0.lock().and_then(|heard| heard.time(now))
    }

    fn fresh(&self, now: Instant) -> Option<Token> {
        self.0.lock().filter(|heard| is_fresh(heard.at, now)).map(|heard| heard.heartbeat.head)
    }
}

impl KnownHead for HeardHead {
    fn head(&self) -> Option<Token> {
        self.fresh(Instant::now())
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < FRESH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(epoch: u64, head: u64) -> Heartbeat {
        Heartbeat { head: Token::new(Epoch(epoch), Revision(head)), sent_at: Timestamp::default() }
    }

    #[test]
    fn a_heartbeat_survives_the_wire() {
        let sent = heartbeat(3, 9);
        assert_eq!(Heartbeat::decode(&sent.encode()).unwrap(), sent);
        assert!(Heartbeat::decode(&[0xff; 7]).is_err());
    }

    #[test]
    fn time_continues_from_the_newest_heartbeat() {
        let now = Instant::now();
        let heard = HeardHead::default();
        assert_eq!(heard.time(now), None);
        heard.note(&heartbeat(1, 9), now);
        assert_eq!(heard.time(now), None, "it does not say when it was sent");
        let sent_at = Timestamp { seconds: 1_000, nanos: 0 };
        // An older head, sent later.
        heard.note(&Heartbeat { sent_at, ..heartbeat(1, 8) }, now);
        let later = now + Duration::from_secs(5);
        assert_eq!(heard.time(later).map(OffsetDateTime::unix_timestamp), Some(1_005));
    }

    #[test]
    fn the_head_goes_back_only_with_another_epoch_or_after_silence() {
        let now = Instant::now();
        let heard = HeardHead::default();
        heard.note(&heartbeat(1, 9), now);
        heard.note(&heartbeat(1, 8), now);
        assert_eq!(heard.fresh(now), Some(heartbeat(1, 9).head));
        heard.note(&heartbeat(2, 8), now);
        assert_eq!(heard.fresh(now), Some(heartbeat(2, 8).head));
        let later = now + FRESH;
        assert_eq!((heard.fresh(later), heard.last()), (None, Some(heartbeat(2, 8).head)));
        heard.note(&heartbeat(2, 7), later);
        assert_eq!(heard.fresh(later), Some(heartbeat(2, 7).head));
    }
}
