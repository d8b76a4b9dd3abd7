//! The queue of commands in front of the committer.
//!
//! It has two lanes: a chunk of an import is as large as 1,000 commands, so one transaction takes at most
//! [`CHUNKS_PER_BATCH`] of them, and commands go first. While a caller is refused, no other caller gets more than half
//! of the command lane.

use std::sync::Arc;

use service_kit::auth::Caller;
use service_kit::shares::{Hold, Holders};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outcome::Outcome;
use crate::domain::{Command, RequestKey};
use crate::metrics;

/// Maximum number of chunks in one transaction.
const CHUNKS_PER_BATCH: usize = 2;
/// Number of chunks in the queue; further calls wait for room.
const BULK_CAPACITY: usize = 16;

/// A command in the queue, and where its outcome goes.
#[derive(Debug)]
pub struct Unit {
    /// The checked command.
    pub command: Command,
    /// Its idempotency key.
    pub request: Option<RequestKey>,
    /// The caller whose share of the queue it takes; all calls without a token have one share.
    pub caller: Option<Caller>,
    /// W3C trace context of the call.
    pub traceparent: Option<String>,
    /// Receives the outcome. Closed if the caller has left.
    pub reply: oneshot::Sender<Outcome>,
}

/// Lanes of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Commands; a full lane refuses at once.
    Command,
    /// Chunks of imports and replacements; a full lane waits.
    Bulk,
}

/// Why the queue refuses a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull {
    /// The queue is full.
    #[error("too many commands are waiting")]
    Full,
    /// The caller has half of the queue, and another caller was refused lately.
    #[error("too many commands of this caller are waiting, and another caller was refused")]
    Share,
}

impl QueueFull {
    /// Label of the metric.
    fn cause(self) -> &'static str {
        match self {
            Self::Full => "queue_full",
            Self::Share => "queue_share",
        }
    }
}

/// The room of a waiting command, in the queue and in its caller's share; returned when dropped.
type Slot = (OwnedSemaphorePermit, Hold<Option<Caller>>);

/// The sending end. Clones share it.
#[derive(Clone, Debug)]
pub struct Queue {
    capacity: u32,
    /// An atomic batch takes the room of its commands.
    room: Arc<Semaphore>,
    /// Room by caller.
    holders: Arc<Holders<Option<Caller>>>,
    commands: mpsc::UnboundedSender<(Unit, Slot)>,
    bulk: mpsc::Sender<Unit>,
}

/// The committer's end.
#[derive(Debug)]
pub struct Receiver {
    commands: mpsc::UnboundedReceiver<(Unit, Slot)>,
    bulk: mpsc::Receiver<Unit>,
}

impl Queue {
    /// A queue with room for `capacity` commands.
    pub fn bounded(capacity: u32) -> (Self, Receiver) {
        let (commands, commands_out) = mpsc::unbounded_channel();
        let (bulk, bulk_out) = mpsc::channel(BULK_CAPACITY);
        let room = Arc::new(Semaphore::new(capacity as usize));
        let holders = Arc::new(Holders::new(capacity as usize, Arc::default()));
        let receiver = Receiver { commands: commands_out, bulk: bulk_out };
        (Self { capacity, room, holders, commands, bulk }, receiver)
    }

    /// Puts a command into the queue. A full command lane refuses at once. A full bulk lane waits, which slows imports
    /// to the speed of commits.
    pub async fn put(&self, unit: Unit, lane: Lane) -> Result<(), QueueFull> {
        match lane {
            Lane::Command => {
                // A batch that is larger than the queue must fit if the queue is empty.
                let size = weight(&unit).min(self.capacity);
                let slot = self.take_slot(&unit.caller, size).inspect_err(|refused| {
                    ::metrics::counter!(metrics::REFUSED, "cause" => refused.cause()).increment(1);
                })?;
                self.commands.send((unit, slot)).map_err(|_| QueueFull::Full)
            }
            Lane::Bulk => self.bulk.send(unit).await.map_err(|_| QueueFull::Full),
        }
    }

    fn take_slot(&self, caller: &Option<Caller>, size: u32) -> Result<Slot, QueueFull> {
        let now = Instant::now();
        let hold = self.holders.hold(caller, size as usize, now).ok_or(QueueFull::Share)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(size).map_err(|_| {
            self.holders.refused(caller, now);
            QueueFull::Full
        })?;
        Ok((room, hold))
    }

    /// Number of waiting commands, in both lanes.
    pub fn waiting(&self) -> usize {
        let commands = (self.capacity as usize).saturating_sub(self.room.available_permits());
        commands + (self.bulk.max_capacity() - self.bulk.capacity())
    }
}

/// Number of commands in a unit.
fn weight(unit: &Unit) -> u32 {
    match &unit.command {
        Command::Batch(commands) => u32::try_from(commands.len()).unwrap_or(u32::MAX).max(1),
        _ => 1,
    }
}

impl Receiver {
    /// Waits for commands and takes all that wait, up to the limits: the command that reaches `max` is the last one.
    /// Drops commands whose callers have left. Returns `None` after `stop`, when the queue is empty.
    pub async fn next_batch(&mut self, max: u32, stop: &CancellationToken) -> Option<Vec<Unit>> {
        loop {
            let mut units = Vec::new();
            let mut chunks = Vec::new();
            let mut taken = 0;
            tokio::select! {
                biased;
                command = self.commands.recv() => {
                    let (unit, _) = command?;
                    taken += weight(&unit);
                    units.push(unit);
                }
                Some(chunk) = self.bulk.recv() => chunks.push(chunk),
                () = stop.cancelled() => return None,
            }
            while taken < max
                && let Ok((unit, _)) = self.commands.try_recv()
            {
                taken += weight(&unit);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::UserId;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Action, PairCommand};

    fn unit(commands: u32) -> (Unit, oneshot::Receiver<Outcome>) {
        let user = |n| UserId::new(Uuid::from_u128(n)).expect("not nil");
        let pair = PairCommand { actor: user(1), other: user(2), action: Action::Follow, expects: None };
        let command = match commands {
            1 => Command::Pair(pair),
            more => Command::Batch(vec![pair; more as usize]),
        };
        let (reply, outcome) = oneshot::channel();
        (Unit { command, request: None, caller: None, traceparent: None, reply }, outcome)
    }

    #[tokio::test]
    async fn a_batch_counts_as_its_commands() {
        let (queue, mut receiver) = Queue::bounded(1_000);
        let stop = CancellationToken::new();
        let mut callers = Vec::new();
        for commands in [1, 300, 300, 300, 1] {
            let (unit, caller) = unit(commands);
            callers.push(caller);
            queue.put(unit, Lane::Command).await.expect("there is room");
        }
        assert_eq!(queue.waiting(), 902);
        assert_eq!(queue.put(unit(300).0, Lane::Command).await, Err(QueueFull::Full));
        let sizes = |units: Vec<Unit>| units.iter().map(weight).collect::<Vec<_>>();
        assert_eq!(sizes(receiver.next_batch(500, &stop).await.expect("commands")), [1, 300, 300]);
        assert_eq!(queue.waiting(), 301);
        assert_eq!(sizes(receiver.next_batch(500, &stop).await.expect("commands")), [300, 1]);
    }

    #[tokio::test]
    async fn a_batch_larger_than_the_queue_fits_if_it_is_empty() {
        let (queue, mut receiver) = Queue::bounded(100);
        let (batch, _caller) = unit(300);
        queue.put(batch, Lane::Command).await.expect("nothing waits");
        assert_eq!(queue.put(unit(1).0, Lane::Command).await, Err(QueueFull::Full));
        let taken = receiver.next_batch(10, &CancellationToken::new()).await.expect("the batch");
        assert_eq!(taken.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_leaves_half_of_the_queue_once_another_is_refused() {
        let (queue, mut receiver) = Queue::bounded(10);
        let stop = CancellationToken::new();
        let [hog, modest] = ["hog", "modest"].map(Caller::new);
        let mut waiting = Vec::new();
        let mut of = |caller: &Caller| {
            let (unit, outcome) = unit(1);
            waiting.push(outcome);
            Unit { caller: Some(caller.clone()), ..unit }
        };
        for _ in 0..10 {
            queue.put(of(&hog), Lane::Command).await.expect("no other caller wants room");
        }
        assert_eq!(queue.put(of(&modest), Lane::Command).await, Err(QueueFull::Full));
        assert_eq!(receiver.next_batch(2, &stop).await.expect("commands").len(), 2);
        assert_eq!(queue.put(of(&hog), Lane::Command).await, Err(QueueFull::Share));
        for _ in 0..2 {
            queue.put(of(&modest), Lane::Command).await.expect("the hog leaves room");
        }
        // Commands that were taken from the queue do not count.
        assert_eq!(receiver.next_batch(6, &stop).await.expect("commands").len(), 6);
        for _ in 0..3 {
            queue.put(of(&hog), Lane::Command).await.expect("within its half");
        }
        assert_eq!(queue.put(of(&hog), Lane::Command).await, Err(QueueFull::Share));
        tokio::time::advance(Duration::from_secs(1)).await;
        queue.put(of(&hog), Lane::Command).await.expect("the refusal of the other is forgotten");
    }
}
