//! WatchEvents: streams events.
//!
//! Events wait for the watcher in a queue that is limited in messages and bytes. If the queue stays full, or if the
//! next event is no longer in memory while it waits, the watch ends and its place is free. Every error that ends a
//! watch contains the token at which to resume.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use event_log::Stop;
use futures::Stream;
use parking_lot::Mutex;
use prost::Message as _;
use proto::error::{Reason, ServiceError};
use proto::events::v1::{Event, Verb};
use proto::query::v1::{WatchEventsRequest, WatchEventsResponse};
use proto::{Revision, Token};
use service_kit::auth::Caller;
use service_kit::shares::Places;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::validate;
use crate::metrics::{WATCHED, WATCHES, WATCHES_ENDED, WATCHES_REFUSED};
use crate::recent::{EventCursor, Filter, PAST_READERS, Recent, Sources, stop_name};

/// Name of the field with the token to start after.
const AFTER: &str = "after";
/// Interval of heartbeats on a quiet watch.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Size of a watcher's queue, in messages and in bytes; one message may exceed the latter.
const QUEUE: usize = 64;
const QUEUE_BYTES: u32 = 256 * 1024;
/// Events that one watcher's reader of older events requests at once.
const BATCH: i64 = 32;
/// Bytes of older events that are read ahead.
const READ_AHEAD: usize = 256 * 1024;
/// Time for which the queue may stay full before the watch ends.
const FULL_QUEUE_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of the wait for this process to reach the token, or to learn the head.
const BEGIN: Duration = Duration::from_secs(2);
/// Retry delay when all places are taken.
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

/// State shared by all watches.
#[derive(Debug)]
pub struct Watches {
    recent: Arc<Recent>,
    sources: Sources,
    places: Places<Option<Caller>>,
    /// Places of the readers of older events.
    readers: Arc<Semaphore>,
    drain: CancellationToken,
}

#[derive(Debug)]
enum Item {
    Event(Token, Arc<[u8]>),
    Heartbeat(Token),
}

#[derive(Debug)]
enum End {
    /// The client has closed the stream.
    Gone,
    TooSlow,
    ShuttingDown,
    Stopped(Stop),
}

impl Watches {
    /// Serves at most `most` concurrent watches of these events. All end when `drain` is cancelled.
    pub fn new(recent: Arc<Recent>, mut sources: Sources, most: usize, drain: CancellationToken) -> Self {
        (sources.log.batch, sources.log.buffer_bytes) = (BATCH, READ_AHEAD);
        let (places, readers) = (Places::new(most), Arc::new(Semaphore::new(PAST_READERS)));
        Self { recent, sources, places, readers, drain }
    }

    /// Begins a watch.
    pub async fn begin(
        &self,
        request: &WatchEventsRequest,
        caller: Option<Caller>,
    ) -> Result<WatchStream, ServiceError> {
        let filter = Filter {
            verbs: verbs(&request.verbs)?,
            actors: validate::users(&request.actor_ids, "actor_ids")?,
            targets: validate::users(&request.target_ids, "target_ids")?,
        };
        let after = validate::optional_token(&request.after, (Reason::InvalidToken, AFTER), Token::parse)?;
        let place = self.places.take(caller, Instant::now()).map_err(|refused| {
            metrics::counter!(WATCHES_REFUSED, "cause" => refused.name()).increment(1);
            ServiceError::new(Reason::Overloaded, "too many watchers; retry later").retry_after(RETRY_AFTER)
        })?;
        let after = self.beginning(after).await?;
        let (recent, sources) = (Arc::clone(&self.recent), self.sources.clone());
        let cursor = EventCursor::after(after, filter, recent, sources, Arc::clone(&self.readers));
        let (queue, receiver) = Queue::after(after);
        let end = Arc::new(Mutex::new(None));
        let (told, sources, drain) = (Arc::clone(&end), self.sources.clone(), self.drain.clone());
        tokio::spawn(async move {
            metrics::gauge!(WATCHES).increment(1.0);
            let mut sent = after;
            let ended = run(cursor, &queue, &drain, &mut sent).await;
            let status = status(&ended, sent, &sources).await;
            *told.lock() = status;
            metrics::gauge!(WATCHES).decrement(1.0);
            metrics::counter!(WATCHES_ENDED, "reason" => ended.name()).increment(1);
            // The client may read the rest of the queue later; the place is free now.
            drop((queue, place));
        });
        Ok(Box::pin(futures::stream::unfold((receiver, end), |(mut receiver, end)| async move {
            if let Some(item) = receiver.next().await {
                return Some((message(item), (receiver, end)));
            }
            let status = end.lock().take()?;
            Some((Err(status), (receiver, end)))
        })))
    }

    /// Start of a watch: after the token, if it belongs to this history and the following events are retained.
    async fn beginning(&self, after: Option<Token>) -> Result<Token, ServiceError> {
        let mut follow = self.recent.subscribe();
        // Without a token, start after the current head; a process that has just started may not have read up to it
        // yet.
        let wanted = after.or_else(|| self.sources.heads.head());
        let far_enough = |position: &Option<Token>| {
            position.is_some_and(|position| wanted.is_none_or(|wanted| position >= wanted))
        };
        let position = match tokio::time::timeout(BEGIN, follow.wait_for(far_enough)).await {
            Ok(Ok(position)) => *position,
            // The sender lives as long as `recent`. Without a position, nothing is known about revisions beyond it.
            Ok(Err(_)) | Err(_) => self.recent.position(),
        };
        let Some(position) = position else {
            let message = "the stream of events was not reached yet";
            return Err(ServiceError::new(Reason::StoreUnavailable, message).retry_after(RETRY_AFTER));
        };
        let Some(after) = after else { return Ok(position) };
        if after.epoch < position.epoch {
            return Err(ServiceError::field(Reason::EpochChanged, AFTER, "is of another epoch"));
        }
        if after > position && self.sources.heads.head().is_none_or(|head| after > head) {
            return Err(ServiceError::field(Reason::TokenAhead, AFTER, "is beyond the newest revision"));
        }
        if after < position && !self.recent.ring().covers(after) {
            let oldest = self.sources.log.oldest(after.epoch).await;
            if oldest.is_some_and(|oldest| oldest > after.revision.next()) {
                return Err(pruned(after, oldest));
            }
        }
        Ok(after)
    }
}

/// The messages that wait for a watcher.
struct Queue {
    sender: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    /// Revision of the last message that the client took.
    taken: Arc<AtomicU64>,
}

struct Taker {
    receiver: mpsc::Receiver<Queued>,
    taken: Arc<AtomicU64>,
}

/// A message and its share of the queue's bytes.
struct Queued {
    item: Item,
    _share: OwnedSemaphorePermit,
}

/// The client has closed the stream.
struct Closed;

impl Queue {
    fn after(after: Token) -> (Self, Taker) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let bytes = Arc::new(Semaphore::new(QUEUE_BYTES as usize));
        let taken = Arc::new(AtomicU64::new(after.revision.0));
        (Self { sender, bytes, taken: Arc::clone(&taken) }, Taker { receiver, taken })
    }

    /// Waits for room in the queue.
    async fn send(&self, item: Item) -> Result<(), Closed> {
        let cost = u32::try_from(item.bytes()).unwrap_or(u32::MAX).clamp(1, QUEUE_BYTES);
        let share = Arc::clone(&self.bytes).acquire_many_owned(cost).await.map_err(|_| Closed)?;
        self.sender.send(Queued { item, _share: share }).await.map_err(|_| Closed)
    }

    fn taken(&self) -> Revision {
        Revision(self.taken.load(Ordering::Relaxed))
    }
}

impl Taker {
    async fn next(&mut self) -> Option<Item> {
        let Queued { item, .. } = self.receiver.recv().await?;
        self.taken.store(item.at().revision.0, Ordering::Relaxed);
        Some(item)
    }
}

/// Sends events and heartbeats until the watch ends; updates `sent`.
async fn run(mut cursor: EventCursor, queue: &Queue, drain: &CancellationToken, sent: &mut Token) -> End {
    // The first message shows a watcher without a token where it starts. The queue is empty.
    if queue.send(Item::Heartbeat(cursor.done())).await.is_err() {
        return End::Gone;
    }
    let mut heartbeats = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_live = cursor.is_live();
    let mut held_up = false;
    loop {
        let item = tokio::select! {
            () = drain.cancelled() => return End::ShuttingDown,
            () = queue.sender.closed() => return End::Gone,
            _ = heartbeats.tick() => Item::Heartbeat(cursor.done()),
            event = cursor.next() => match event {
                Ok((at, payload)) => Item::Event(at, payload),
                Err(stop) => return End::Stopped(stop),
            },
        };
        // A watcher that lets messages wait until they are no longer in memory would cause reads from the stream
        // without end.
        if std::mem::replace(&mut was_live, cursor.is_live()) && !cursor.is_live() && held_up {
            return End::TooSlow;
        }
        let at = item.at();
        let is_event = matches!(item, Item::Event(..));
        let mut sending = pin!(queue.send(item));
        match futures::poll!(&mut sending) {
            Poll::Ready(Ok(())) => held_up &= queue.sender.capacity() < QUEUE / 2,
            Poll::Ready(Err(Closed)) => return End::Gone,
            Poll::Pending => {
                held_up = true;
                tokio::select! {
                    () = drain.cancelled() => return End::ShuttingDown,
                    () = queue.sender.closed() => return End::Gone,
                    () = cursor.passed_by(|| queue.taken()) => return End::TooSlow,
                    outcome = tokio::time::timeout(FULL_QUEUE_TIMEOUT, sending) => match outcome {
                        Ok(Ok(())) => {}
                        Ok(Err(Closed)) => return End::Gone,
                        Err(_) => return End::TooSlow,
                    },
                }
            }
        }
        *sent = at;
        if is_event {
            metrics::counter!(WATCHED).increment(1);
            heartbeats.reset();
        }
    }
}

/// The last message of a watch; `None` if the client has closed the stream.
async fn status(end: &End, sent: Token, sources: &Sources) -> Option<Status> {
    let error = match end {
        End::Gone => return None,
        End::TooSlow => ServiceError::new(
            Reason::WatcherTooSlow,
            "the watcher reads too slowly; resume with `resume_token`",
        ),
        End::ShuttingDown => ServiceError::new(
            Reason::ShuttingDown,
            "the process is shutting down; resume on another one with `resume_token`",
        ),
        End::Stopped(Stop::OtherEpoch) => {
            ServiceError::new(Reason::EpochChanged, "the epoch has changed; begin with an export")
        }
        End::Stopped(Stop::Pruned(_)) => pruned(sent, sources.log.oldest(sent.epoch).await),
        End::Stopped(stop @ (Stop::Contradicted(_) | Stop::Unreadable { .. } | Stop::Died)) => {
            tracing::error!(error = stop as &dyn std::error::Error, "a watch failed");
            ServiceError::new(Reason::Internal, "the next event cannot be read")
        }
    };
    Some(error.with("resume_token", sent).into())
}

/// The events after this token have been deleted.
fn pruned(after: Token, oldest: Option<Revision>) -> ServiceError {
    let message = match oldest {
        Some(oldest) => format!("is too old: events are kept from revision {oldest} on"),
        None => "is too old: no events are kept".to_owned(),
    };
    let error = ServiceError::field(Reason::RevisionPruned, AFTER, message);
    match oldest {
        Some(oldest) => {
            let before = Token::new(after.epoch, Revision(oldest.0.saturating_sub(1)));
            error.with("oldest_revision", oldest).with("oldest_token", before)
        }
        None => error,
    }
}

fn message(item: Item) -> Result<WatchEventsResponse, Status> {
    let resume_token = item.at().to_string();
    let event = match item {
        Item::Heartbeat(_) => None,
        // The event was decoded when it arrived; a failure here is an internal error.
        Item::Event(_, payload) => Some(
            Event::decode(&*payload)
                .map_err(|_| ServiceError::new(Reason::Internal, "an event cannot be read"))?,
        ),
    };
    Ok(WatchEventsResponse { event, resume_token })
}

fn verbs(numbers: &[i32]) -> Result<Vec<Verb>, ServiceError> {
    let verb = |(place, number): (usize, &i32)| match Verb::try_from(*number) {
        Ok(verb) if verb != Verb::Unspecified => Ok(verb),
        _ => Err(ServiceError::field(Reason::UnknownEnumValue, format!("verbs[{place}]"), "is not a verb")),
    };
    numbers.iter().enumerate().map(verb).collect()
}

impl Item {
    fn at(&self) -> Token {
        match self {
            Self::Event(at, _) | Self::Heartbeat(at) => *at,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Event(_, payload) => payload.len(),
            Self::Heartbeat(_) => 0,
        }
    }
}

impl End {
    fn name(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::TooSlow => "too_slow",
            Self::ShuttingDown => "shutting_down",
            Self::Stopped(stop) => stop_name(stop),
        }
    }
}

#[cfg(test)]
mod tests;
