//! Events in order, from the stream or, where it fails, from the outbox.
//!
//! Owns: following the stream from a given point, and every check on the way: each event must be the next revision, of
//! our epoch, and name the event before it. What the stream does not give, or gives wrongly, is read from the outbox,
//! which is the truth. Must not know: the read model, Cypher.
//! What can go wrong: servers that are away are waited for without end. Only what no waiting can cure ends a feed; see
//! [`Stop`].

mod beacon;
mod check;
mod follow;
mod outbox;
mod stream;

use std::sync::Arc;

use proto::Revision;
use proto::event::DecodeError;
use service_kit::nats::Nats;
use service_kit::readiness::Latch;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

pub use beacon::{Beacon, listen};

use crate::apply::{self, Item};
use crate::mark::Mark;
use crate::status::Board;
use crate::truth::Truth;

/// Edge changes that may wait to be applied; bounds the memory of a feed that is faster than the read model.
const WAITING_CHANGES: usize = 20_000;

/// Why a feed ended.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Neither the stream nor the outbox goes back far enough.
    #[error("neither the stream nor the outbox reaches back to revision {0}")]
    Pruned(Revision),
    /// What was applied last is not part of the history.
    #[error("revision {0} was applied with an event that the source of truth does not have")]
    Contradicted(Revision),
    /// Another epoch was opened.
    #[error("another epoch was opened")]
    OtherEpoch,
    /// The outbox holds an event that this program does not understand. It must not be skipped.
    #[error("revision {revision} cannot be read")]
    Unreadable {
        /// Its revision.
        revision: Revision,
        /// Why.
        #[source]
        source: DecodeError,
    },
}

/// What a feed needs.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The source of truth.
    pub truth: Truth,
    /// The stream's server.
    pub nats: Nats,
    /// The newest beacon.
    pub beacon: watch::Receiver<Option<Beacon>>,
    /// Passes unless what was applied is not, or no longer, part of the history.
    pub latch: Latch,
    /// Shows what is wrong with the stream.
    pub board: Board,
}

/// An event and its share of the memory allowed.
struct Waiting {
    item: Item,
    _share: OwnedSemaphorePermit,
}

/// The consumer's end of a feed: sends what was checked.
struct Outlet {
    sender: mpsc::UnboundedSender<Result<Waiting, Stop>>,
    budget: Arc<Semaphore>,
}

/// The reader is gone; the feed ends.
struct Closed;

impl Outlet {
    /// Waits for room.
    async fn send(&self, item: Item) -> Result<(), Closed> {
        let cost = apply::cost(&item).min(WAITING_CHANGES);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.budget).acquire_many_owned(cost).await.map_err(|_| Closed)?;
        self.sender.send(Ok(Waiting { item, _share: share })).map_err(|_| Closed)
    }
}

/// Events after a point, in order. Dropping it ends the consumer.
pub struct Feed {
    receiver: mpsc::UnboundedReceiver<Result<Waiting, Stop>>,
    task: JoinHandle<()>,
}

impl Feed {
    /// Follows the events after `mark`.
    pub fn after(mark: Mark, sources: Sources) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let outlet = Outlet { sender, budget: Arc::new(Semaphore::new(WAITING_CHANGES)) };
        let task = tokio::spawn(follow::run(mark, sources, outlet));
        Self { receiver, task }
    }

    /// The next event, if one is waiting.
    pub fn try_next(&mut self) -> Option<Result<Item, Stop>> {
        self.receiver.try_recv().ok().map(|received| received.map(|waiting| waiting.item))
    }

    /// Waits for the next event; `None` if the feed died.
    pub async fn next(&mut self) -> Option<Result<Item, Stop>> {
        self.receiver.recv().await.map(|received| received.map(|waiting| waiting.item))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
