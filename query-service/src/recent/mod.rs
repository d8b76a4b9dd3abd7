//! The log as known to this process: its newest revision, and the recent events.
//!
//! Heartbeats get lost, so nothing here proves freshness: an answer proves it by the checkpoint that it was read with.

mod cursor;
mod follow;
mod gauges;
mod head;
mod ring;
mod sources;
mod world;

pub use self::cursor::{EventCursor, PAST_READERS};
pub use self::follow::{Follower, stop_name};
pub use self::head::{HeadTracker, LONGEST_STALENESS};
pub use self::ring::{ExcerptLimits, Filter, Limits, Ring};
pub use self::sources::{FeedMonitor, Sources};
pub use self::world::{LoadOutcome, Recent};
