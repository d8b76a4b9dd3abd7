//! The state that the events alone define.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::{self, consumer};
use futures::StreamExt as _;
use proto::event::{AccountOp, EdgeOp, Event, Verb};
use proto::{Position, Revision, UserId, subjects};

use super::{Counts, CountsOf, Edge, Edges, assert_rules, count, head_token};
use crate::endpoints::Endpoints;

/// Every event in the stream, checked: each revision once, in order, chained.
pub async fn stream(endpoints: &Endpoints) -> Vec<Event> {
    let name = subjects::stream_name(head_token(endpoints).await.epoch);
    let stream = jetstream::new(endpoints.nats().await).get_stream(name).await.expect("there is a stream");
    let state = stream.cached_info().state.clone();
    let mut events: Vec<Event> = Vec::new();
    if state.messages == 0 {
        return events;
    }
    let config =
        consumer::pull::OrderedConfig { deliver_policy: consumer::DeliverPolicy::All, ..Default::default() };
    let mut messages =
        stream.create_consumer(config).await.expect("a consumer").messages().await.expect("messages");
    while let Some(message) = messages.next().await {
        let message = message.expect("a message");
        let sequence = message.info().expect("a JetStream message").stream_sequence;
        let event = Event::decode(&message.payload).expect("an event of ours");
        let header = |name| message.headers.as_ref().and_then(|h| h.get(name)).map(|v| v.as_str().to_owned());
        assert_eq!(event.revision, Revision(sequence), "the sequence is the revision");
        assert_eq!(header(subjects::HEADER_ID), Some(event.event_id.to_string()));
        assert_eq!(header(subjects::HEADER_SEQUENCE), Some(sequence.to_string()));
        if let Some(last) = events.last() {
            assert_eq!(event.revision, last.revision.next(), "no revision is missing or repeated");
            assert_eq!(event.prev_id, Some(last.event_id), "the chain holds");
        }
        events.push(event);
        if sequence >= state.last_sequence {
            break;
        }
    }
    events
}

/// The event of one revision, from the outbox.
pub async fn event(endpoints: &Endpoints, revision: Revision) -> Event {
    let payload: Vec<u8> = sqlx::query_scalar("SELECT payload FROM outbox WHERE revision = $1")
        .bind(revision.as_i64())
        .fetch_one(&endpoints.postgres().await)
        .await
        .expect("the event of the revision");
    Event::decode(&payload).expect("an event of ours")
}

/// The events from a revision on, from the outbox.
pub async fn events_from(endpoints: &Endpoints, revision: Revision) -> Vec<Event> {
    let payloads: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT payload FROM outbox WHERE revision >= $1 ORDER BY revision")
            .bind(revision.as_i64())
            .fetch_all(&endpoints.postgres().await)
            .await
            .expect("the outbox is readable");
    payloads.iter().map(|payload| Event::decode(payload).expect("an event of ours")).collect()
}

/// The state after the events up to some revision.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    pub revision: Revision,
    pub edges: Edges,
    pub counts: CountsOf,
    /// Private accounts.
    pub private: BTreeSet<UserId>,
    /// Accounts that are hidden or being erased, with their last state.
    pub states: BTreeMap<UserId, AccountOp>,
}

impl Replay {
    /// The state after all of these.
    pub fn of(events: &[Event]) -> Self {
        let mut replay = Self::default();
        for event in events {
            replay.apply(event);
        }
        replay
    }

    /// Applies the next event, and checks it against the state: edges existed or not as it says, positions are new or
    /// old, counts equal those of the edges, the rules hold.
    ///
    /// # Panics
    /// If the event violates its contract.
    pub fn apply(&mut self, event: &Event) {
        let at = event.revision;
        self.revision = at;
        let touched = event.edges.iter().flat_map(|change| [change.key.source, change.key.target]);
        let before: CountsOf = touched.map(|user| (user, self.counts_of(user))).collect();
        let mut names = BTreeSet::new();
        let mut place = Position::new(at, 0).as_i64() - 1;
        for change in &event.edges {
            let key = change.key;
            assert!(names.insert(key), "{key:?} appears twice in revision {at}");
            let edge = Edge {
                position: change.position.as_i64(),
                created_at: change.created_at,
                expires_at: change.expires_at,
            };
            let was = match change.op {
                EdgeOp::Removed => self.edges.remove(&key),
                _ => self.edges.insert(key, edge),
            };
            match change.op {
                EdgeOp::Added => {
                    assert_eq!(was, None, "revision {at} adds {key:?}, which exists");
                    if event.verb != Verb::RestoreAccount {
                        let new = change.position.revision() == at && edge.position > place;
                        assert!(new, "revision {at} puts {key:?} at {}", edge.position);
                        place = edge.position;
                    }
                    count(&mut self.counts, key, 1);
                }
                EdgeOp::Updated => {
                    let was = was.unwrap_or_else(|| panic!("revision {at} updates {key:?}, which is not"));
                    assert_eq!(was, Edge { expires_at: was.expires_at, ..edge }, "an update at {at}");
                    assert_ne!(was.expires_at, edge.expires_at, "revision {at} updates nothing of {key:?}");
                }
                EdgeOp::Removed => {
                    assert_eq!(was, Some(edge), "revision {at} contains the removed values: {key:?}");
                    count(&mut self.counts, key, -1);
                }
                EdgeOp::Unspecified => unreachable!("decoding refuses it"),
            }
        }
        self.check_counts(event, &before);
        for change in &event.edges {
            assert_rules(&self.edges, change.key.source, change.key.target);
            assert_rules(&self.edges, change.key.target, change.key.source);
        }
        self.apply_accounts(event);
    }

    fn check_counts(&self, event: &Event, before: &CountsOf) {
        let at = event.revision;
        let told: BTreeMap<_, _> = event.counts.iter().map(|told| (told.user, told)).collect();
        assert_eq!(told.len(), event.counts.len(), "each account is counted once at {at}");
        for (user, told) in &told {
            assert_eq!(Counts::from(*told), self.counts_of(*user), "the counts of {user} at revision {at}");
        }
        for (user, before) in before {
            let same = *before == self.counts_of(*user);
            assert!(same || told.contains_key(user), "revision {at} does not count {user}");
        }
    }

    fn counts_of(&self, user: UserId) -> Counts {
        self.counts.get(&user).copied().unwrap_or_default()
    }

    fn apply_accounts(&mut self, event: &Event) {
        for change in &event.accounts {
            let (user, at) = (change.user, event.revision);
            match change.op {
                AccountOp::MadePrivate => {
                    assert!(self.private.insert(user), "{user} becomes private twice, at {at}");
                }
                AccountOp::MadePublic => {
                    assert!(self.private.remove(&user), "{user} becomes public twice, at {at}");
                }
                AccountOp::Erased => {
                    let left = self.counts_of(user);
                    assert_eq!(left, Counts::default(), "{user} is erased at {at} and has edges");
                    self.private.remove(&user);
                    self.states.remove(&user);
                }
                AccountOp::Restored => {
                    self.states.remove(&user);
                }
                AccountOp::EraseStarted | AccountOp::Archived => {
                    self.states.insert(user, change.op);
                }
                AccountOp::Unspecified => unreachable!("decoding refuses it"),
            }
        }
    }
}
