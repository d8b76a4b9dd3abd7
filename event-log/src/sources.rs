//! Where events come from, and the traits through which a process takes part.

use std::fmt::Debug;
use std::sync::Arc;

use proto::{Epoch, Revision, Token};
use service_kit::nats::Nats;
use service_kit::with_timeout;

use crate::outbox::Outbox;
use crate::reach::{REQUEST_TIMEOUT, Trouble, find};

/// The newest head that the process knows without asking.
pub trait KnownHead: Debug + Send + Sync {
    /// The head; `None` if nothing recent is known.
    fn head(&self) -> Option<Token>;
}

/// How events arrive now.
#[derive(Clone, Copy, Debug)]
pub enum SourceState<'a> {
    /// From the stream.
    Stream,
    /// From the outbox, because the stream fails.
    Outbox {
        /// What is wrong with the stream.
        reason: &'a str,
    },
    /// From the outbox, which was read up to its head.
    CaughtUp,
    /// Not at all: the outbox cannot be read either.
    Unavailable {
        /// What is wrong with the outbox.
        reason: &'a str,
    },
    /// PostgreSQL has been behind the last event for minutes: it has lost commits.
    Lost {
        /// The last event.
        last: Revision,
        /// The head of PostgreSQL.
        head: Revision,
    },
}

/// Observes a source. Each process has metrics and checks of its own.
pub trait Monitor: Debug + Send + Sync {
    /// How events arrive has changed, or was confirmed.
    fn state(&self, state: SourceState<'_>);
    /// Reading the stream ended.
    fn stream_ended(&self, cause: &'static str);
    /// An event came from the outbox.
    fn outbox_event(&self);
    /// A message of the stream was read before.
    fn redelivered(&self) {}
    /// A message of the stream is not the event of its revision.
    fn foreign(&self) {}
    /// The stream ends this many revisions before the last event.
    fn stream_behind(&self, _revisions: u64) {}
}

/// Where events come from. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The stream's server.
    pub nats: Nats,
    /// The outbox.
    pub outbox: Outbox,
    /// The head.
    pub head: Arc<dyn KnownHead>,
    /// Observes.
    pub monitor: Arc<dyn Monitor>,
    /// Description of the consumers of the stream.
    pub consumer: &'static str,
    /// Events that one request to the stream asks for.
    pub batch: i64,
    /// Bytes of events that may wait to be taken; one event may always wait.
    pub buffer_bytes: usize,
}

impl Sources {
    /// The oldest revision of the stream of an epoch, or its next one if it is empty, and the newest one, even if it was
    /// removed; `None` if JetStream does not answer.
    pub async fn stream_reach(&self, epoch: Epoch) -> Option<(Revision, Revision)> {
        if !self.nats.is_connected() {
            return None;
        }
        let stream = with_timeout(REQUEST_TIMEOUT, find(&self.nats, epoch), Trouble::timeout).await.ok()?;
        let state = &stream.cached_info().state;
        Some((Revision(state.first_sequence), Revision(state.last_sequence)))
    }

    /// The oldest event that the stream or the outbox holds; `None` if neither holds any or answers.
    pub async fn oldest(&self, epoch: Epoch) -> Option<Revision> {
        let held = |(first, last): (Revision, Revision)| (first <= last).then_some(first);
        let in_stream = self.stream_reach(epoch).await.and_then(held);
        let in_outbox = self.outbox.oldest(epoch).await.ok().flatten();
        in_stream.into_iter().chain(in_outbox).min()
    }
}
