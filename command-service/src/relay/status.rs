//! The state of the stream as this process knows it.

use std::time::Duration;

use proto::graph::v1::StreamState;
use proto::{Epoch, Revision};

/// State of the stream, for the status, readiness, and everything that depends on what is published.
#[derive(Clone, Debug, Default)]
pub struct StreamStatus {
    /// Name of the stream.
    pub name: String,
    /// Result of the last comparison with the outbox.
    pub state: StreamState,
    /// Oldest revision in the stream.
    pub first: Revision,
    /// Newest revision in the stream.
    pub last: Revision,
    /// Whether this process publishes.
    pub leader: bool,
    /// Why the state is not Ok; empty otherwise.
    pub problem: String,
    /// Age of the oldest event that is not in the stream.
    pub oldest_unpublished: Option<Duration>,
    /// Whether the stream was inspected since the process started. Otherwise `last` has no meaning.
    pub seen: bool,
    /// Whether PostgreSQL has recorded the fork that `state` shows.
    pub fork_recorded: bool,
    /// The epoch that this process speaks for on NATS; `None` while another history may hold its subjects there.
    pub speaks_for: Option<Epoch>,
}

impl StreamStatus {
    /// Before the first comparison.
    pub fn unseen(epoch: Epoch) -> Self {
        let (name, problem) = (proto::subjects::stream_name(epoch), "not looked at yet".to_owned());
        Self { name, problem, ..Self::default() }
    }

    /// Whether the status shows a fork that PostgreSQL has recorded.
    pub fn shows_recorded_fork(&self) -> bool {
        self.state == StreamState::Forked && self.fork_recorded
    }
}
