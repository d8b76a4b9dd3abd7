//! Verified events, and why reading ends.

use std::sync::Arc;

use proto::Revision;
use proto::event::{DecodeError, Event};

/// A verified event.
#[derive(Clone, Debug)]
pub struct LoggedEvent {
    /// The event.
    pub event: Event,
    /// Its bytes.
    pub payload: Arc<[u8]>,
    /// W3C trace context of the command; present only if traces are exported.
    pub traceparent: Option<String>,
}

/// Why no source can continue.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Neither the stream nor the outbox reaches back far enough.
    #[error("neither the stream nor the outbox reaches back to revision {0}")]
    Pruned(Revision),
    /// The event at the last position is not part of the history.
    #[error("PostgreSQL has another event at revision {0} than the one that was read")]
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
    /// The task that reads the log has died.
    #[error("the reader of the event log died")]
    Died,
}
