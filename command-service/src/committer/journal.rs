//! Turns decided changes into events: assigns revisions and chains each event to the one before.
//!
//! Commands, steps of jobs and expiries all append through it. Pure.

use proto::event::{AccountChange, Event, Verb};
use proto::{Token, UserId};
use uuid::Uuid;

use crate::domain::{Change, Graph, Stamp, Unseen};
use crate::store::head::Head;
use crate::store::outbox::Entry;

/// The events that a transaction appends to the log.
pub struct Journal {
    /// The head after the last event.
    pub head: Head,
    /// The events by revision.
    pub entries: Vec<Entry>,
    /// Number of visible edge changes in the events.
    pub edges: u64,
    new_id: NewId,
}

/// Makes the ids of events and jobs.
pub type NewId = fn() -> Uuid;

impl Journal {
    /// An empty journal whose first event follows `head`.
    pub fn after(head: Head, new_id: NewId) -> Self {
        Self { head, entries: Vec::new(), edges: 0, new_id }
    }

    /// Token of the last event, or of the head if there is no event.
    pub fn token(&self) -> Token {
        self.head.token()
    }

    /// Appends one event and applies its changes to the graph. Fails, without effect, if an account was not loaded.
    pub fn append(
        &mut self,
        graph: &mut Graph,
        verb: Verb,
        actor: Option<UserId>,
        changes: &[Change],
        accounts: &[AccountChange],
        traceparent: Option<&String>,
    ) -> Result<(), Unseen> {
        let stamp = Stamp { revision: self.head.revision.next(), time: self.head.now };
        let (edges, counts) = graph.commit(changes, accounts, stamp)?;
        let head = &mut self.head;
        let (prev_id, event_id) = (head.event_id, (self.new_id)());
        head.revision = stamp.revision;
        head.event_id = Some(event_id);
        self.edges += edges.len() as u64;
        let event = Event {
            epoch: head.epoch,
            revision: head.revision,
            event_id,
            prev_id,
            committed_at: head.now,
            verb,
            actor,
            edges,
            accounts: accounts.to_vec(),
            counts,
        };
        self.entries.push(Entry::new(&event, traceparent.cloned()));
        Ok(())
    }
}
