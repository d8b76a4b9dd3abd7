//! How the stream of an epoch is found on JetStream, and why it does not deliver.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::Stream;
use proto::{Epoch, subjects};
use service_kit::nats::Nats;

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

/// The stream of an epoch.
pub(crate) async fn find(nats: &Nats, epoch: Epoch) -> Result<Stream, Trouble> {
    let context = jetstream::new(nats.client.clone());
    context.get_stream(subjects::stream_name(epoch)).await.map_err(|error| Trouble::new("stream", error))
}
