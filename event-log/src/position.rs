//! Positions in the log.

use std::collections::VecDeque;

use proto::event::Event;
use proto::{Epoch, Revision, Token};
use uuid::Uuid;

/// Limit of the events whose ids are kept. A failover loses what was committed within seconds.
const MAX_READ_EVENTS: usize = 512;

/// A position in the log. The id of the event there tells two histories apart that have the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// The history.
    pub epoch: Epoch,
    /// The revision in it.
    pub revision: Revision,
    /// The event at that revision; `None` before the first event, or if it is unknown.
    pub event_id: Option<Uuid>,
}

impl LogPosition {
    /// A position whose event is unknown: the event after it is accepted without a check of the chain.
    pub fn unverified(at: Token) -> Self {
        Self { epoch: at.epoch, revision: at.revision, event_id: None }
    }

    /// The position of an event.
    pub fn of(event: &Event) -> Self {
        Self { epoch: event.epoch, revision: event.revision, event_id: Some(event.event_id) }
    }

    /// Epoch and revision.
    pub fn token(&self) -> Token {
        Token::new(self.epoch, self.revision)
    }

    /// True if both are at the same revision of the same epoch with different events.
    pub fn contradicts(&self, other: &Self) -> bool {
        let differ = self.event_id.zip(other.event_id).is_some_and(|(ours, theirs)| ours != theirs);
        self.token() == other.token() && differ
    }
}

/// The newest events that were read. They tell a PostgreSQL that lost commits from one that lags, before it has passed
/// the last of them.
#[derive(Debug, Default)]
pub struct ReadEvents(VecDeque<LogPosition>);

impl ReadEvents {
    pub(crate) fn add(&mut self, position: LogPosition) {
        if self.0.len() == MAX_READ_EVENTS {
            self.0.pop_front();
        }
        self.0.push_back(position);
    }

    /// True if another event was read at the revision of this head.
    pub fn contradict(&self, head: &LogPosition) -> bool {
        self.0.iter().any(|read| head.contradicts(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_different_events_at_one_revision_contradict() {
        let at = |revision, id| LogPosition {
            epoch: Epoch(1),
            revision: Revision(revision),
            event_id: Some(Uuid::from_u128(id)),
        };
        assert!(at(7, 1).contradicts(&at(7, 2)));
        assert!(!at(7, 1).contradicts(&at(7, 1)));
        assert!(!at(7, 1).contradicts(&at(8, 2)));
        let unknown = LogPosition::unverified(at(7, 1).token());
        assert!(!at(7, 1).contradicts(&unknown) && !unknown.contradicts(&at(7, 1)));
    }
}
