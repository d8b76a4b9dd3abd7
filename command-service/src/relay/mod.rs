//! The relay: publishes the outbox to the stream, each revision exactly once and in order.
//!
//! The stream's sequence number of an event is its revision. So the relay keeps no cursor: it continues at the stream's
//! last sequence + 1, and the stream refuses any message whose sequence is not the next one, from a stale leader or a
//! retry.

mod acknowledged;
mod error;
mod heartbeats;
mod inspect;
mod leader;
mod others;
mod publish;
mod status;
mod stream;

pub use acknowledged::Acknowledged;
pub use leader::{Relay, Wiring};
pub use status::StreamStatus;
pub use stream::Settings;
