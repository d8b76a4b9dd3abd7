//! The checks on every event.
//!
//! Owns: what makes an event the next one. Pure. Must not know: where it came from, what is done about a bad one.
//! What can go wrong: see [`Mismatch`].

use proto::event::{DecodeError, Event};

use crate::apply::Item;
use crate::edge::Change;
use crate::mark::Mark;

/// Why an event is not the next one.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// It does not decode.
    #[error("it cannot be read")]
    Unreadable(#[from] DecodeError),
    /// It is of another epoch or revision than its place says.
    #[error("it says epoch {} revision {}", .0.epoch, .0.revision)]
    OtherPlace(Mark),
    /// Its header names another event than its body.
    #[error("its header names another event")]
    Header,
    /// The event that it names before it is not the one that was before it.
    #[error("it names another event before it")]
    Chain,
}

/// Takes an event as the one after `last`. `header_id` is what the message's header says, where there is one.
pub fn next(last: Mark, header_id: Option<&str>, event: &Event) -> Result<Item, Mismatch> {
    let mark = Mark { epoch: event.epoch, revision: event.revision, event_id: Some(event.event_id) };
    if event.epoch != last.epoch || event.revision != last.revision.next() {
        return Err(Mismatch::OtherPlace(mark));
    }
    if header_id.is_some_and(|id| id != event.event_id.to_string()) {
        return Err(Mismatch::Header);
    }
    if event.prev_id != last.event_id {
        return Err(Mismatch::Chain);
    }
    let change = |change| Change::of(change, event.revision).ok_or(DecodeError::Unknown("edge change", 0));
    let changes = event.edges.iter().map(change).collect::<Result<_, _>>()?;
    Ok(Item { mark, committed_at: event.committed_at, changes, traceparent: None })
}

#[cfg(test)]
mod tests {
    use proto::event::Verb;
    use proto::{Epoch, Revision};
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;

    fn event(revision: u64) -> Event {
        Event {
            epoch: Epoch(1),
            revision: Revision(revision),
            event_id: Uuid::from_u128(u128::from(revision)),
            prev_id: (revision > 1).then(|| Uuid::from_u128(u128::from(revision - 1))),
            committed_at: OffsetDateTime::UNIX_EPOCH,
            verb: Verb::Follow,
            actor: None,
            edges: Vec::new(),
            accounts: Vec::new(),
            counts: Vec::new(),
        }
    }

    fn last(revision: u64) -> Mark {
        let event_id = (revision > 0).then(|| Uuid::from_u128(u128::from(revision)));
        Mark { epoch: Epoch(1), revision: Revision(revision), event_id }
    }

    #[test]
    fn the_next_event_is_taken() {
        let id = Uuid::from_u128(8).to_string();
        assert_eq!(next(last(7), Some(&id), &event(8)).unwrap().mark, last(8));
        assert_eq!(next(last(0), None, &event(1)).unwrap().mark, last(1));
    }

    #[test]
    fn every_other_event_is_not() {
        assert!(matches!(next(last(7), None, &event(9)), Err(Mismatch::OtherPlace(_))));
        let other_epoch = Event { epoch: Epoch(2), ..event(8) };
        assert!(matches!(next(last(7), None, &other_epoch), Err(Mismatch::OtherPlace(_))));
        assert!(matches!(next(last(7), Some("x"), &event(8)), Err(Mismatch::Header)));
        let fork = Mark { event_id: Some(Uuid::from_u128(99)), ..last(7) };
        assert!(matches!(next(fork, None, &event(8)), Err(Mismatch::Chain)));
        let unchained = Event { prev_id: None, ..event(8) };
        assert!(matches!(next(last(7), None, &unchained), Err(Mismatch::Chain)));
    }
}
