//! Listens to the signals on core NATS: beacons and the projectors' announcements.
//!
//! Owns: the subscriptions and the decoding. It must not decide what the signals mean for a read.
//! What can go wrong: NATS is away. The client reconnects and renews subscriptions by itself; meanwhile nothing is
//! heard, and those who need to know look into the stores.

use std::sync::Arc;

use async_nats::{Client, Message, SubscribeError};
use futures::StreamExt as _;
use prost::Message as _;
use proto::events::v1::{Beacon as BeaconMessage, ProjectorAnnouncement};
use proto::{Epoch, Revision, Token, subjects};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Beacon, Checkpoint, Horizon, Replica, Roster};
use crate::metrics::BAD_SIGNALS;

/// Who is told of signals.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Of beacons.
    pub horizon: Arc<Horizon>,
    /// Of the projectors of the read models that are read here.
    pub replicas: Vec<Arc<Replica>>,
    /// Of all projectors.
    pub roster: Arc<Roster>,
}

impl Signals {
    /// Listens until told to stop.
    pub async fn listen(self, client: Client, stop: CancellationToken) -> Result<(), SubscribeError> {
        let beacons = client.subscribe(subjects::BEACON).await?;
        let projectors = client.subscribe(subjects::PROJECTORS_WILDCARD).await?;
        let mut signals = futures::stream::select(beacons, projectors);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                signal = signals.next() => match signal {
                    Some(message) => self.take(&message, Instant::now()),
                    // The client has closed for good, which it does only when the process stops.
                    None => {
                        stop.cancelled().await;
                        return Ok(());
                    }
                },
            }
        }
    }

    fn take(&self, message: &Message, now: Instant) {
        if message.subject.as_str() == subjects::BEACON {
            match BeaconMessage::decode(&message.payload[..]) {
                Ok(beacon) => self.beacon(&beacon, now),
                Err(_) => metrics::counter!(BAD_SIGNALS, "subject" => "beacon").increment(1),
            }
        } else {
            match ProjectorAnnouncement::decode(&message.payload[..]) {
                Ok(said) => self.announcement(said, now),
                Err(_) => metrics::counter!(BAD_SIGNALS, "subject" => "projector").increment(1),
            }
        }
    }

    fn beacon(&self, said: &BeaconMessage, now: Instant) {
        let head = Token::new(Epoch(said.epoch), Revision(said.head));
        self.horizon.beacon(Beacon { head, sent_at: said.sent_at.unwrap_or_default() }, now);
    }

    fn announcement(&self, said: ProjectorAnnouncement, now: Instant) {
        // One that has not opened its read model yet knows nothing of it; what was known stands.
        let known = said.epoch != 0;
        let replica = self.replicas.iter().find(|replica| *said.name == **replica.projector());
        if let Some(replica) = replica.filter(|_| known) {
            let visible = Token::new(Epoch(said.epoch), Revision(said.visible));
            replica.announced(Checkpoint { visible, complete: said.complete }, now);
        }
        self.roster.heard(said, now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn signals() -> Signals {
        Signals {
            horizon: Arc::default(),
            replicas: ["projector-0", "projector-1"].map(|name| Arc::new(Replica::new(name))).to_vec(),
            roster: Arc::default(),
        }
    }

    fn message(subject: &str, payload: Vec<u8>) -> Message {
        Message {
            subject: subject.to_owned().into(),
            reply: None,
            length: payload.len(),
            payload: payload.into(),
            headers: None,
            status: None,
            description: None,
        }
    }

    #[test]
    fn each_projector_moves_its_own_read_model() {
        let signals = signals();
        let announce_of = |name: &str, epoch, visible| {
            let said = ProjectorAnnouncement {
                name: name.to_owned(),
                epoch,
                visible,
                complete: epoch != 0,
                ..Default::default()
            };
            signals.take(&message(&subjects::projector(name), said.encode_to_vec()), Instant::now());
        };
        let announce = |name: &str, visible| announce_of(name, 1, visible);
        let states = || [signals.replicas[0].state(), signals.replicas[1].state()];
        let built = |revision| {
            State::Built(Checkpoint { visible: Token::new(Epoch(1), Revision(revision)), complete: true })
        };
        announce("a-stranger", 9);
        assert_eq!(states(), [State::Unknown; 2]);
        announce("projector-1", 8);
        assert_eq!(states(), [State::Unknown, built(8)]);
        announce("projector-0", 7);
        assert_eq!(states(), [built(7), built(8)]);
        // It starts again and does not know yet where its read model stands.
        announce_of("projector-0", 0, 0);
        assert_eq!(states(), [built(7), built(8)]);
        assert_eq!(signals.roster.list(Instant::now()).len(), 3);
    }

    #[test]
    fn a_beacon_tells_the_head_and_nonsense_is_ignored() {
        let signals = signals();
        signals.take(&message(subjects::BEACON, vec![0xff; 7]), Instant::now());
        assert_eq!(signals.horizon.head(), None);
        let said = BeaconMessage { epoch: 2, head: 40, sent_at: None };
        signals.take(&message(subjects::BEACON, said.encode_to_vec()), Instant::now());
        assert_eq!(signals.horizon.head(), Some(Token::new(Epoch(2), Revision(40))));
    }
}
