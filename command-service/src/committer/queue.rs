//! Commands on their way to the committer.
//!
//! Two lanes: a chunk of an import is as heavy as a thousand commands, so at most
//! [`CHUNKS_PER_BATCH`] of them ride in one transaction, and they never stand in
//! front of commands.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Outcome;
use crate::domain::Command;
use crate::store::replies;

/// How many chunks of imports one transaction takes.
const CHUNKS_PER_BATCH: usize = 2;
/// How many chunks may wait; imports beyond that wait at the door.
const BULK_CAPACITY: usize = 16;

/// One command and whom to answer.
#[derive(Debug)]
pub struct Unit {
    /// What is asked for.
    pub command: Command,
    /// Its idempotency key, if it has one.
    pub request: Option<RequestKey>,
    /// W3C trace context of the call.
    pub traceparent: Option<String>,
    /// Where the outcome goes.
    pub reply: oneshot::Sender<Outcome>,
}

/// An idempotency key, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Who asked.
    pub actor: proto::UserId,
    /// The key.
    pub request_id: Uuid,
    /// Digest of the command.
    pub fingerprint: Vec<u8>,
}

impl RequestKey {
    /// The name under which it is remembered.
    pub fn name(&self) -> replies::Key {
        (self.actor, self.request_id)
    }
}

/// Which way a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A person's command.
    Command,
    /// A chunk of an import.
    Bulk,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many commands are waiting")]
pub struct QueueFull;

/// The end that commands are put into. Clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    commands: mpsc::Sender<Unit>,
    bulk: mpsc::Sender<Unit>,
}

/// The end that the committer takes batches from.
#[derive(Debug)]
pub struct Receiver {
    commands: mpsc::Receiver<Unit>,
    bulk: mpsc::Receiver<Unit>,
}

impl Queue {
    /// A queue with room for so many commands.
    pub fn bounded(capacity: usize) -> (Self, Receiver) {
        let (commands, commands_out) = mpsc::channel(capacity);
        let (bulk, bulk_out) = mpsc::channel(BULK_CAPACITY);
        (Self { commands, bulk }, Receiver { commands: commands_out, bulk: bulk_out })
    }

    /// Puts a command in. A full command lane refuses at once; the bulk lane waits,
    /// which slows an import down to what can be committed.
    pub async fn put(&self, unit: Unit, lane: Lane) -> Result<(), QueueFull> {
        match lane {
            Lane::Command => self.commands.try_send(unit).map_err(|_| QueueFull),
            Lane::Bulk => self.bulk.send(unit).await.map_err(|_| QueueFull),
        }
    }

    /// How many commands wait.
    pub fn waiting(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }
}

impl Receiver {
    /// Waits for work; takes all that is there, up to the limits. None when told to
    /// stop and nothing waits. Commands whose callers have given up are dropped.
    pub async fn next_batch(&mut self, max: usize, stop: &CancellationToken) -> Option<Vec<Unit>> {
        loop {
            let mut units = Vec::new();
            let mut chunks = Vec::new();
            tokio::select! {
                biased;
                taken = self.commands.recv_many(&mut units, max) => if taken == 0 { return None },
                Some(chunk) = self.bulk.recv() => chunks.push(chunk),
                () = stop.cancelled() => return None,
            }
            while units.len() < max
                && let Ok(unit) = self.commands.try_recv()
            {
                units.push(unit);
            }
            while chunks.len() < CHUNKS_PER_BATCH
                && let Ok(chunk) = self.bulk.try_recv()
            {
                chunks.push(chunk);
            }
            units.append(&mut chunks);
            units.retain(|unit| !unit.reply.is_closed());
            if !units.is_empty() {
                return Some(units);
            }
        }
    }
}
