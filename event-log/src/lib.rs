//! The event log as consumers read it: verified events in order, from the stream or the outbox, and the signals about
//! the log on core NATS.
//!
//! Invariant I3: every event that leaves this crate is the next revision of its epoch and names the event before it.

mod event;
pub mod heartbeat;
mod outbox;
mod position;
pub mod projectors;
mod reach;
mod source;
mod sources;
mod stream;
mod verify;

pub use self::event::{LoggedEvent, Stop};
pub use self::outbox::{Admission, Outbox};
pub use self::position::LogPosition;
pub use self::source::EventSource;
pub use self::sources::{KnownHead, Monitor, SourceState, Sources};
