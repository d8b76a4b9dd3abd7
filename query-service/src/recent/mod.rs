//! The log as known to this process: its newest revision, the recent events, and the hot set that follows them.
//!
//! Heartbeats get lost, so the head does not prove that an answer of a store is fresh: the answer proves it by the
//! checkpoint that it was read with. An answer of the hot set is of the position of the recent events; the head decides
//! whether that position may lack something old.

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
