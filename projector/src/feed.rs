//! The events to apply, and what status and readiness show about their source.

use std::sync::Arc;

use event_log::heartbeat::HeardHead;
use event_log::{EventSource, LogPosition, LoggedEvent, Monitor, SourceState, Stop};
use proto::event::{AccountChange, AccountOp, DecodeError};
use service_kit::readiness::Latch;

use crate::apply::Item;
use crate::edge::Change;
use crate::metrics::{FOREIGN, OUTBOX_EVENTS, REBUILDS, REDELIVERIES, STREAM_BEHIND};
use crate::status::StatusBoard;
use crate::truth::Truth;

/// Events per request to the stream.
pub const BATCH: i64 = 500;
/// Limit of the bytes of events that wait to be applied: about 20,000 changed edges.
pub const BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// The sources that a session reads.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The source of truth.
    pub truth: Truth,
    /// The event log.
    pub log: event_log::Sources,
    /// The head of the newest heartbeat.
    pub heard: Arc<HeardHead>,
    /// The check `stream`: passes while the applied events are part of the history.
    pub latch: Latch,
    /// Status of the projector.
    pub board: StatusBoard,
}

/// Reports the source of events to status, readiness and metrics.
#[derive(Debug)]
pub struct FeedMonitor {
    /// As in [`Sources`].
    pub latch: Latch,
    /// As in [`Sources`].
    pub board: StatusBoard,
}

impl Monitor for FeedMonitor {
    /// Reading the outbox does not change the readiness: the read model is complete as of its revision, and status and
    /// metrics show its age.
    fn state(&self, state: SourceState<'_>) {
        let problem = match state {
            SourceState::Stream => String::new(),
            SourceState::Outbox { reason } => format!("events come from the outbox: {reason}"),
            // The problem of the stream remains.
            SourceState::CaughtUp => return self.latch.ready(),
            SourceState::Unavailable { reason } => {
                format!("neither the stream nor the outbox can be read: {reason}")
            }
            SourceState::Lost { last, head } => {
                format!("revision {last} was applied, but PostgreSQL is at {head}: it has lost commits")
            }
        };
        match state {
            SourceState::Stream => self.latch.ready(),
            SourceState::Lost { .. } => self.latch.not_ready(&problem),
            _ => {}
        }
        self.board.change(|status| status.stream_problem = problem);
    }

    fn stream_ended(&self, cause: &'static str) {
        metrics::counter!(REBUILDS, "cause" => cause).increment(1);
    }

    fn outbox_event(&self) {
        metrics::counter!(OUTBOX_EVENTS).increment(1);
    }

    fn redelivered(&self) {
        metrics::counter!(REDELIVERIES).increment(1);
    }

    fn foreign(&self) {
        metrics::counter!(FOREIGN).increment(1);
    }

    fn stream_behind(&self, revisions: u64) {
        // A figure for people; digits beyond 2^53 do not matter.
        metrics::gauge!(STREAM_BEHIND).set(revisions as f64);
    }
}

/// Events after a position, in order. Dropping it ends the reading.
pub struct Feed {
    source: EventSource,
    latch: Latch,
}

impl Feed {
    /// Starts to read after `position`.
    pub fn after(position: LogPosition, sources: &Sources) -> Self {
        sources.latch.ready();
        Self { source: EventSource::after(position, sources.log.clone()), latch: sources.latch.clone() }
    }

    /// Waits for the next event. Nothing is lost if the caller stops waiting.
    pub async fn next(&mut self) -> Result<Item, Stop> {
        let outcome = self.source.next().await;
        self.read(outcome)
    }

    /// The next event, if one is waiting.
    pub fn try_next(&mut self) -> Option<Result<Item, Stop>> {
        let outcome = self.source.try_next()?;
        Some(self.read(outcome))
    }

    fn read(&self, outcome: Result<LoggedEvent, Stop>) -> Result<Item, Stop> {
        outcome.and_then(item).inspect_err(|stop| self.latch.not_ready(&stop.to_string()))
    }
}

/// Reduces an event to what the read model needs.
fn item(logged: LoggedEvent) -> Result<Item, Stop> {
    let LoggedEvent { event, traceparent, .. } = logged;
    let change = |change| Change::of(change, event.revision).ok_or(DecodeError::Unknown("edge change", 0));
    let changes = event
        .edges
        .iter()
        .map(change)
        .collect::<Result<_, _>>()
        .map_err(|source| Stop::Unreadable { revision: event.revision, source })?;
    let ended = |change: &&AccountChange| change.op == AccountOp::Erased;
    let erased = event.accounts.iter().filter(ended).map(|change| change.user).collect();
    Ok(Item {
        position: LogPosition::of(&event),
        committed_at: event.committed_at,
        changes,
        erased,
        traceparent,
    })
}
