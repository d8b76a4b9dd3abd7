//! The checks on every event.
//!
//! Owns: what makes an event the next one. Pure. It must not know where the event came from.
//! What can go wrong: see [`Mismatch`].

use proto::Token;
use proto::event::{DecodeError, Event};

use super::Mark;
use crate::pipeline::Arrival;

/// Why an event is not the next one.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// It does not decode.
    #[error("it cannot be read")]
    Unreadable(#[from] DecodeError),
    /// It is of another epoch or revision than its place says.
    #[error("it says epoch {} revision {}", .0.epoch, .0.revision)]
    OtherPlace(Token),
    /// Its header names another event than its body.
    #[error("its header names another event")]
    Header,
    /// The event that it names before it is not the one that was before it.
    #[error("it names another event before it")]
    Chain,
}

/// Takes an event as the one after `last`. `header_id` is what the message's header says, where there is one.
pub fn next(last: &Mark, header_id: Option<&str>, payload: &[u8]) -> Result<Arrival, Mismatch> {
    let event = Event::decode(payload)?;
    let at = Token::new(event.epoch, event.revision);
    if at != Token::new(last.at.epoch, last.at.revision.next()) {
        return Err(Mismatch::OtherPlace(at));
    }
    if header_id.is_some_and(|id| id != event.event_id.to_string()) {
        return Err(Mismatch::Header);
    }
    if last.event_id.is_some() && event.prev_id != last.event_id {
        return Err(Mismatch::Chain);
    }
    // A copy: the bytes are a piece of the connection's buffer, and would keep all of it.
    Ok(Arrival { event, payload: payload.into() })
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
        Mark { at: Token::new(Epoch(1), Revision(revision)), event_id }
    }

    #[test]
    fn the_next_event_is_taken() {
        let id = Uuid::from_u128(8).to_string();
        assert_eq!(next(&last(7), Some(&id), &event(8).encode()).unwrap().event, event(8));
        assert_eq!(next(&last(0), None, &event(1).encode()).unwrap().event, event(1));
    }

    #[test]
    fn where_the_one_before_is_not_known_the_chain_begins() {
        let unknown = Mark { event_id: None, ..last(7) };
        assert!(next(&unknown, None, &event(8).encode()).is_ok());
    }

    #[test]
    fn every_other_event_is_not() {
        let refused =
            |last: &Mark, id: Option<&str>, event: &Event| next(last, id, &event.encode()).unwrap_err();
        assert!(matches!(refused(&last(7), None, &event(9)), Mismatch::OtherPlace(_)));
        let other_epoch = Event { epoch: Epoch(2), ..event(8) };
        assert!(matches!(refused(&last(7), None, &other_epoch), Mismatch::OtherPlace(_)));
        assert!(matches!(refused(&last(7), Some("x"), &event(8)), Mismatch::Header));
        let fork = Mark { event_id: Some(Uuid::from_u128(99)), ..last(7) };
        assert!(matches!(refused(&fork, None, &event(8)), Mismatch::Chain));
        let unchained = Event { prev_id: None, ..event(8) };
        assert!(matches!(refused(&last(7), None, &unchained), Mismatch::Chain));
        assert!(matches!(next(&last(7), None, b"stray"), Err(Mismatch::Unreadable(_))));
    }
}
