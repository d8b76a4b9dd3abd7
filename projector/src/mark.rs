//! Points of the history.
//!
//! Owns: the pair of revision and event that the whole crate compares. Must not know: who stands there.
//! What can go wrong: two marks of one revision with different events are two histories; see [`Mark::contradicts`].

use proto::{Epoch, Revision};
use uuid::Uuid;

/// A point of a history: the newest event up to it names the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The history's number.
    pub epoch: Epoch,
    /// The point.
    pub revision: Revision,
    /// The event at that point; none before the first.
    pub event_id: Option<Uuid>,
}

impl Mark {
    /// True if both stand at the same revision of the same epoch and still are not the same point.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.revision == other.revision && self.event_id != other.event_id
    }
}
