//! Passes the signals on core NATS to their users: heartbeats, and the projectors' announcements.
//!
//! If NATS is down there are no signals, and the probes of the stores find the same information.

use std::sync::Arc;

use async_nats::{Client, SubscribeError};
use event_log::heartbeat::{self, Heartbeat};
use event_log::projectors::{self, ProjectorRegistry};
use proto::events::v1::ProjectorAnnouncement;
use proto::{Epoch, Revision, Token};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Replica;
use crate::hot::Generations;
use crate::metrics::BAD_SIGNALS;
use crate::queries::Checkpoint;
use crate::recent::HeadTracker;

#[derive(Clone, Debug)]
pub struct Signals {
    /// Receives heartbeats.
    pub heads: Arc<HeadTracker>,
    /// Receive announcements of the projectors of this process's read models.
    pub replicas: Vec<Arc<Replica>>,
    /// Receives repairs, until the probe has read their generation: this process may have no route to a read model that
    /// its projector repairs.
    pub generations: Generations,
    /// Receives announcements of all projectors.
    pub projectors: ProjectorRegistry,
}

impl Signals {
    /// Receives signals until `stop`.
    pub async fn listen(self, client: Client, stop: CancellationToken) -> Result<(), SubscribeError> {
        let heartbeats =
            heartbeat::listen(client.clone(), |heard| self.heartbeat(heard, Instant::now()), stop.clone());
        let announcements =
            projectors::listen(client, |heard| self.announcement(heard, Instant::now()), stop);
        tokio::try_join!(heartbeats, announcements).map(|_| ())
    }

    fn heartbeat<E>(&self, heard: Result<Heartbeat, E>, now: Instant) {
        match heard {
            Ok(heartbeat) => self.heads.observe_heartbeat(heartbeat, now),
            Err(_) => metrics::counter!(BAD_SIGNALS, "subject" => "beacon").increment(1),
        }
    }

    fn announcement<E>(&self, heard: Result<ProjectorAnnouncement, E>, now: Instant) {
        let Ok(said) = heard else {
            metrics::counter!(BAD_SIGNALS, "subject" => "projector").increment(1);
            return;
        };
        // For example of a rehearsal next to this database, whose projector may have the same name.
        if self.heads.epoch().is_some_and(|epoch| said.epoch > epoch.0) {
            return;
        }
        // A projector that has not opened its read model yet does not know its checkpoint.
        let known = said.epoch != 0;
        let mut replicas = self.replicas.iter().enumerate();
        let replica = replicas.find(|(_, replica)| *said.name == **replica.projector());
        if let Some((number, replica)) = replica.filter(|_| known) {
            if !said.repaired_user_ids.is_empty() {
                self.generations.set(number, None);
            }
            let visible = Token::new(Epoch(said.epoch), Revision(said.visible));
            replica.announced(Checkpoint { visible, complete: said.complete }, now);
        }
        self.projectors.note(said, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost_types::Timestamp;

    use super::super::State;
    use super::*;
    use crate::queries::Generation;

    fn signals() -> Signals {
        Signals {
            heads: Arc::default(),
            replicas: ["projector-0", "projector-1"].map(|name| Arc::new(Replica::new(name))).to_vec(),
            generations: Generations::new(2),
            projectors: ProjectorRegistry::default(),
        }
    }

    fn announce_of(signals: &Signals, name: &str, epoch: u64, visible: u64) {
        let complete = epoch != 0;
        let said =
            ProjectorAnnouncement { name: name.to_owned(), epoch, visible, complete, ..Default::default() };
        signals.announcement::<()>(Ok(said), Instant::now());
    }

    fn built(epoch: u64, revision: u64) -> State {
        State::Built(Checkpoint { visible: Token::new(Epoch(epoch), Revision(revision)), complete: true })
    }

    #[test]
    fn each_projector_moves_its_own_read_model() {
        let signals = signals();
        let announce = |name: &str, visible| announce_of(&signals, name, 1, visible);
        let states = || [signals.replicas[0].state(), signals.replicas[1].state()];
        let built = |revision| built(1, revision);
        announce("a-stranger", 9);
        assert_eq!(states(), [State::Unknown; 2]);
        announce("projector-1", 8);
        assert_eq!(states(), [State::Unknown, built(8)]);
        announce("projector-0", 7);
        assert_eq!(states(), [built(7), built(8)]);
        // It restarts and does not know its checkpoint yet.
        announce_of(&signals, "projector-0", 0, 0);
        assert_eq!(states(), [built(7), built(8)]);
        let heard = signals.projectors.heard_within(Duration::from_secs(1), Instant::now());
        assert_eq!(heard.len(), 3);
    }

    #[test]
    fn a_projector_of_a_later_epoch_moves_nothing() {
        let signals = signals();
        let now = Instant::now();
        signals.heads.observe_head(Token::new(Epoch(7), Revision(9)), now);
        announce_of(&signals, "projector-0", 7, 8);
        announce_of(&signals, "projector-0", 8, 3);
        assert_eq!(signals.replicas[0].state(), built(7, 8));
        let heard = signals.projectors.heard_within(Duration::from_secs(1), now + Duration::from_millis(1));
        assert_eq!(heard.iter().map(|said| said.epoch).collect::<Vec<_>>(), [7]);
        // Another epoch was opened, and PostgreSQL reports it.
        signals.heads.observe_head(Token::new(Epoch(8), Revision(9)), now);
        announce_of(&signals, "projector-0", 8, 3);
        assert_eq!(signals.replicas[0].state(), built(8, 3));
    }

    #[test]
    fn a_repair_ends_the_known_generation_of_its_read_model() {
        let signals = signals();
        let generation = Generation::new(5);
        [0, 1].into_iter().for_each(|number| signals.generations.set(number, generation));
        announce_of(&signals, "projector-1", 1, 8);
        assert_eq!(signals.generations.get(1), generation);
        let repaired_user_ids = vec![String::from("an account")];
        let (name, visible) = (String::from("projector-1"), 8);
        let said = ProjectorAnnouncement { name, epoch: 1, visible, repaired_user_ids, ..Default::default() };
        signals.announcement::<()>(Ok(said), Instant::now());
        assert_eq!((signals.generations.get(0), signals.generations.get(1)), (generation, None));
    }

    #[test]
    fn a_heartbeat_tells_the_head() {
        let signals = signals();
        signals.heartbeat(Err(()), Instant::now());
        assert_eq!(signals.heads.head(), None);
        let head = Token::new(Epoch(2), Revision(40));
        signals.heartbeat::<()>(Ok(Heartbeat { head, sent_at: Timestamp::default() }), Instant::now());
        assert_eq!(signals.heads.head(), Some(head));
    }
}
