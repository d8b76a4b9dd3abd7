//! The stream of an epoch on JetStream: whether it exists, and which revisions it holds.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::Stream;
use proto::{Epoch, Revision, subjects};
use service_kit::nats::Nats;
use service_kit::with_timeout;

/// Timeout of a request to JetStream.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the stream does not deliver the next event now.
#[derive(Debug)]
pub struct Trouble {
    /// Label of the metric.
    pub cause: &'static str,
    /// For people.
    pub reason: String,
}

impl Trouble {
    pub(crate) fn new(cause: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { cause, reason: reason.to_string() }
    }

    pub(crate) fn timeout() -> Self {
        Self::new("timeout", "JetStream does not answer")
    }

    pub(crate) fn disconnected() -> Self {
        Self::new("disconnected", "NATS is not connected")
    }
}

/// What a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The oldest revision, or the next one if the stream is empty.
    pub first: Revision,
    /// The newest revision, even if it was removed.
    pub last: Revision,
}

/// What the stream of an epoch holds.
pub async fn reach(nats: &Nats, epoch: Epoch) -> Result<Reach, Trouble> {
    if !nats.is_connected() {
        return Err(Trouble::disconnected());
    }
    let stream = with_timeout(REQUEST_TIMEOUT, find(nats, epoch), Trouble::timeout).await?;
    let state = &stream.cached_info().state;
    Ok(Reach { first: Revision(state.first_sequence), last: Revision(state.last_sequence) })
}

pub(crate) async fn find(nats: &Nats, epoch: Epoch) -> Result<Stream, Trouble> {
    let context = jetstream::new(nats.client.clone());
    context.get_stream(subjects::stream_name(epoch)).await.map_err(|error| Trouble::new("stream", error))
}
