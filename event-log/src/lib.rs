//! The event log as consumers read it: verified events in order, from the stream or the outbox, and the signals about
//! the log on core NATS.
//!
//! Invariant I3: every event that leaves this crate is the next revision of its epoch and names the event before it.

pub mod heartbeat;
mod outbox;
mod position;
pub mod projectors;
mod source;
mod stream;
mod verify;

pub use outbox::{Admission, Outbox};
pub use position::LogPosition;
pub use source::{EventSource, KnownHead, LoggedEvent, Monitor, SourceState, Sources, Stop};
