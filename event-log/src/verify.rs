//! The check that an event is the next one.

use proto::Token;
use proto::event::{DecodeError, Event};

use crate::position::LogPosition;

/// Why an event is not the next one.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// It does not decode.
    #[error("the event cannot be decoded")]
    Unreadable(#[from] DecodeError),
    /// It names another epoch or revision than its place.
    #[error("the event has epoch {} and revision {}, which is not the next position", .0.epoch, .0.revision)]
    OtherPlace(Token),
    /// The message's header names another event than its body.
    #[error("the message's header names another event than its body")]
    Header,
    /// It names another event before it than the one that was read.
    #[error("the event's `prev_id` names another event than the previous one")]
    Chain,
}

/// Decodes an event and checks that it follows `last`. `header_id` is the id in the message's header, if there is one.
pub fn next(last: &LogPosition, header_id: Option<&str>, payload: &[u8]) -> Result<Event, Mismatch> {
    let event = Event::decode(payload)?;
    let at = Token::new(event.epoch, event.revision);
    if at != Token::new(last.epoch, last.revision.next()) {
        return Err(Mismatch::OtherPlace(at));
    }
    if header_id.is_some_and(|id| id != event.event_id.to_string()) {
        return Err(Mismatch::Header);
    }
    if last.event_id.is_some() && event.prev_id != last.event_id {
        return Err(Mismatch::Chain);
    }
    Ok(event)
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

    fn last(revision: u64) -> LogPosition {
        let event_id = (revision > 0).then(|| Uuid::from_u128(u128::from(revision)));
        LogPosition { epoch: Epoch(1), revision: Revision(revision), event_id }
    }

    #[test]
    fn the_next_event_is_accepted() {
        let id = Uuid::from_u128(8).to_string();
        assert_eq!(next(&last(7), Some(&id), &event(8).encode()).unwrap(), event(8));
        assert_eq!(next(&last(0), None, &event(1).encode()).unwrap(), event(1));
    }

    #[test]
    fn the_chain_begins_where_the_event_before_is_unknown() {
        let unknown = LogPosition { event_id: None, ..last(7) };
        assert!(next(&unknown, None, &event(8).encode()).is_ok());
    }

    #[test]
    fn every_other_event_is_rejected() {
        let rejected = |last: &LogPosition, id: Option<&str>, event: &Event| {
            next(last, id, &event.encode()).unwrap_err()
        };
        assert!(matches!(rejected(&last(7), None, &event(9)), Mismatch::OtherPlace(_)));
        let other_epoch = Event { epoch: Epoch(2), ..event(8) };
        assert!(matches!(rejected(&last(7), None, &other_epoch), Mismatch::OtherPlace(_)));
        assert!(matches!(rejected(&last(7), Some("x"), &event(8)), Mismatch::Header));
        let fork = LogPosition { event_id: Some(Uuid::from_u128(99)), ..last(7) };
        assert!(matches!(rejected(&fork, None, &event(8)), Mismatch::Chain));
        let unchained = Event { prev_id: None, ..event(8) };
        assert!(matches!(rejected(&last(7), None, &unchained), Mismatch::Chain));
        assert!(matches!(next(&last(7), None, b"stray"), Err(Mismatch::Unreadable(_))));
    }
}
