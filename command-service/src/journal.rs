//! The next stretch of the log: changes become events with revisions.
//!
//! Owns: how an event is made and chained to the one before. Pure. Commands, steps of jobs
//! and expiries all write through it.

use proto::event::{AccountChange, Event, Verb};
use proto::{Token, UserId};
use uuid::Uuid;

use crate::domain::{Change, Graph, Stamp, Unseen};
use crate::store::head::Head;
use crate::store::outbox::Entry;

/// What a transaction appends to the log.
pub struct Journal {
    /// The head after it.
    pub head: Head,
    /// The events, in the order of revisions.
    pub entries: Vec<Entry>,
    /// How many edges changed.
    pub edges: u64,
    new_id: NewId,
}

/// Makes the ids of events and jobs.
pub type NewId = fn() -> Uuid;

impl Journal {
    /// Goes on after `head`.
    pub fn after(head: Head, new_id: NewId) -> Self {
        Self { head, entries: Vec::new(), edges: 0, new_id }
    }

    /// The token of the newest event, or of the head where there is none.
    pub fn token(&self) -> Token {
        self.head.token()
    }

    /// Gives the changes the next revision, and applies them to the graph.
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
