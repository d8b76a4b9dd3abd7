//! The projectors, as they announce themselves on core NATS.
//!
//! NATS restricts who may publish on a subject. So the subject of an announcement names the projector, not its content.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, SubscribeError};
use parking_lot::Mutex;
use prost::Message as _;
use proto::events::v1::ProjectorAnnouncement;
use proto::graph::v1::ReplicaStatus;
use proto::{Token, subjects};
use service_kit::nats;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A projector that was silent for longer is removed.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Limit of the registry, far above any number of replicas.
const MAX_PROJECTORS: usize = 64;

/// An announcement that is not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message does not decode.
    #[error("the announcement cannot be read")]
    Unreadable(#[from] prost::DecodeError),
    /// The subject does not name a projector.
    #[error("the subject {0:?} does not name a projector")]
    Subject(String),
}

/// Reads an announcement. Its name is the last token of the subject.
pub fn decode(message: &Message) -> Result<ProjectorAnnouncement, Error> {
    let subject = message.subject.as_str();
    let name = subjects::projector_name(subject).filter(|name| name.len() <= subjects::MAX_PROJECTOR_NAME);
    let name = name
        .ok_or_else(|| Error::Subject(subject.chars().take(subjects::MAX_PROJECTOR_NAME).collect()))?
        .to_owned();
    Ok(ProjectorAnnouncement { name, ..ProjectorAnnouncement::decode(&*message.payload)? })
}

/// Passes each announcement to `heard`, until `stop`.
pub async fn listen(
    client: Client,
    mut heard: impl FnMut(Result<ProjectorAnnouncement, Error>) + Send,
    stop: CancellationToken,
) -> Result<(), SubscribeError> {
    nats::listen(client, subjects::PROJECTORS_WILDCARD, |message| heard(decode(&message)), stop).await
}

/// The last announcement of each projector. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ProjectorRegistry(Arc<Mutex<BTreeMap<String, (ProjectorAnnouncement, Instant)>>>);

impl ProjectorRegistry {
    /// Notes an announcement. If the registry is full, a new projector is ignored until another is removed.
    pub fn note(&self, said: ProjectorAnnouncement, now: Instant) {
        let mut all = self.0.lock();
        all.retain(|_, (_, at)| now.saturating_duration_since(*at) < FORGET_AFTER);
        if all.len() < MAX_PROJECTORS || all.contains_key(&said.name) {
            all.insert(said.name.clone(), (said, now));
        }
    }

    /// The last announcement of each projector heard within this time, by name.
    pub fn heard_within(&self, time: Duration, now: Instant) -> Vec<ProjectorAnnouncement> {
        let recent = |at: Instant| now.saturating_duration_since(at) < time;
        self.0.lock().values().filter(|(_, at)| recent(*at)).map(|(said, _)| said.clone()).collect()
    }

    /// The status of each projector, compared with the head. A projector of a later epoch follows another database, for
    /// example of a rehearsal on the same NATS, and is left out.
    pub fn statuses(&self, head: Option<Token>, now: Instant) -> Vec<ReplicaStatus> {
        let age = |at: &Instant| now.saturating_duration_since(*at);
        let ours = |said: &ProjectorAnnouncement| head.is_none_or(|head| said.epoch <= head.epoch.0);
        let all = self.0.lock();
        let recent = all.values().filter(|(said, at)| age(at) < FORGET_AFTER && ours(said));
        recent.map(|(said, at)| status(said.clone(), age(at), head)).collect()
    }
}

fn status(said: ProjectorAnnouncement, age: Duration, head: Option<Token>) -> ReplicaStatus {
    // Revisions of another history say nothing about this one.
    let other_epoch = head.map(|head| head.epoch).filter(|epoch| epoch.0 != said.epoch);
    ReplicaStatus {
        revision: said.revision,
        visible: said.visible,
        complete: said.complete && other_epoch.is_none(),
        sweep_progress: said.sweep_progress,
        differences: said.differences,
        lag_revisions: head.map_or(0, |head| head.revision.0.saturating_sub(said.visible)),
        lag: prost_types::Duration::try_from(Duration::from_micros(said.lag_micros)).ok(),
        seen_at: said.sent_at,
        age: prost_types::Duration::try_from(age).ok(),
        differences_at: said.differences_at,
        problem: match other_epoch {
            Some(epoch) => format!("it follows epoch {}, not {epoch}", said.epoch),
            None => said.problem,
        },
        name: said.name,
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Revision};

    use super::*;

    fn named(name: &str) -> ProjectorAnnouncement {
        ProjectorAnnouncement { name: name.to_owned(), ..Default::default() }
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
    fn the_subject_names_the_projector() {
        let claimed = named("projector-0").encode_to_vec();
        let read = decode(&message("followgraph.projector.intruder", claimed.clone())).unwrap();
        assert_eq!(read.name, "intruder");
        let subject = subjects::projector(&"x".repeat(subjects::MAX_PROJECTOR_NAME + 1));
        assert!(matches!(decode(&message(&subject, claimed)), Err(Error::Subject(_))));
        assert!(matches!(
            decode(&message("followgraph.projector.a", vec![0xff; 7])),
            Err(Error::Unreadable(_))
        ));
    }

    #[test]
    fn silent_projectors_are_removed_by_the_next_announcement() {
        let now = Instant::now();
        let registry = ProjectorRegistry::default();
        registry.note(named("projector-0"), now);
        registry.note(named("projector-1"), now + FORGET_AFTER);
        assert_eq!(registry.0.lock().keys().collect::<Vec<_>>(), ["projector-1"]);
    }

    #[test]
    fn the_registry_is_limited_and_keeps_those_it_knows() {
        let now = Instant::now();
        let registry = ProjectorRegistry::default();
        registry.note(named("projector-0"), now);
        for number in 0..1_000 {
            registry.note(named(&format!("stranger-{number}")), now);
        }
        let known = ProjectorAnnouncement { revision: 7, ..named("projector-0") };
        registry.note(known, now);
        let statuses = registry.statuses(None, now);
        assert_eq!(statuses.len(), MAX_PROJECTORS);
        assert_eq!((statuses[0].name.as_str(), statuses[0].revision), ("projector-0", 7));
    }

    #[test]
    fn a_projector_of_another_epoch_is_not_complete() {
        let registry = ProjectorRegistry::default();
        let now = Instant::now();
        registry.note(ProjectorAnnouncement { epoch: 1, complete: true, ..named("old") }, now);
        let status = |epoch| registry.statuses(Some(Token::new(Epoch(epoch), Revision(5))), now);
        assert!(status(1)[0].complete && status(1)[0].problem.is_empty());
        assert!(!status(2)[0].complete && status(2)[0].problem.contains("epoch 1"));
    }
}
