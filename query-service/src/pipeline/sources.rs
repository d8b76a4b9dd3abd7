//! Where this process reads the log.

use std::sync::Arc;

use event_log::{KnownHead, Monitor, SourceState};
use proto::Token;

use super::Horizon;
use crate::metrics::{FEED_OUTBOX, FEED_REBUILDS};

/// The log and its head. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The log.
    pub log: event_log::Sources,
    /// The newest head.
    pub horizon: Arc<Horizon>,
}

impl KnownHead for Horizon {
    fn head(&self) -> Option<Token> {
        self.head()
    }
}

/// Counts what happens to the readers of the log.
#[derive(Debug)]
pub struct FeedMonitor;

impl Monitor for FeedMonitor {
    /// Answers say how old they are, wherever events come from.
    fn state(&self, _: SourceState<'_>) {}

    fn stream_ended(&self, cause: &'static str) {
        metrics::counter!(FEED_REBUILDS, "cause" => cause).increment(1);
    }

    fn outbox_event(&self) {
        metrics::counter!(FEED_OUTBOX).increment(1);
    }
}
