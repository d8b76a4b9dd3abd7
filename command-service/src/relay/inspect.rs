//! Compares the stream with the outbox.

use std::time::Duration;

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, ErrorCode};
use proto::event::Event;
use proto::{Epoch, Revision, subjects};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::error::Error;
use super::heartbeats::Heartbeats;
use super::others::{self, Others};
use super::stream;
use crate::store::head::{self, Head, History};
use crate::store::outbox;

/// State of the stream against the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The stream does not exist. It must begin at `first`.
    Missing {
        /// The oldest event in the outbox, or the next event if the outbox is empty.
        first: Revision,
        /// Streams of earlier epochs that it replaces.
        given_up: Vec<String>,
    },
    /// The stream's newest event is ours. Publishing continues at `next`.
    Good {
        /// The revision after the newest event.
        next: Revision,
        /// Id of the newest event; `None` if the stream is empty and PostgreSQL's head is newer.
        after: Option<Uuid>,
    },
    /// The stream, or another one with its subjects, is not ours: which one, and what to do.
    Blocked(String),
    /// The stream holds a message that is not our event: which one.
    Stray(String),
    /// The stream holds an event of our epoch that PostgreSQL does not know: which one.
    Fork(String),
}

/// Result of an inspection.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// State of the stream.
    pub found: Found,
    /// The history that the stream was compared with.
    pub history: History,
    /// PostgreSQL's head.
    pub head: Head,
    /// The oldest and the newest revision in the stream; `None` if NATS was not asked.
    pub stream: Option<(Revision, Revision)>,
    /// Age of the oldest event that is not in the stream.
    pub oldest_unpublished: Option<Duration>,
}

/// Reads the history. Fails with [`Error::Standby`] on a server that takes no writes.
pub async fn history(connection: &mut PgConnection) -> Result<History, Error> {
    // A standby may lag behind the stream, which is not a fork.
    if service_kit::postgres::is_read_only(connection).await? {
        return Err(Error::Standby);
    }
    Ok(head::history(connection).await?)
}

/// Compares the stream of the current history with the outbox.
pub async fn inspect(
    connection: &mut PgConnection,
    history: History,
    jetstream: &jetstream::Context,
    heartbeats: &Heartbeats,
) -> Result<Inspection, Error> {
    if let Some(problem) = history.fork.clone() {
        // A recorded fork is certain, also while NATS is down.
        let head = head::get(connection).await?;
        let found = Found::Fork(problem);
        return Ok(Inspection { found, history, head, stream: None, oldest_unpublished: None });
    }
    let stream = match jetstream.get_stream(subjects::stream_name(history.epoch)).await {
        Ok(stream) => Some(stream),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => None,
            _ => return Err(Error::nats(error)),
        },
    };
    // Read after the stream: every event in the stream was committed before.
    let head = head::get(connection).await?;
    if head.epoch != history.epoch {
        return Err(Error::EpochChanged);
    }
    let oldest = outbox::oldest(connection).await?;
    let Some(stream) = stream else {
        let first = oldest.unwrap_or(head.revision.next());
        let oldest_unpublished = age(connection, &head, Revision(first.0.saturating_sub(1))).await?;
        let found = match others::find(jetstream, &history, heartbeats).await? {
            Others::GivenUp(given_up) => Found::Missing { first, given_up },
            Others::Blocked(problem) => Found::Blocked(problem),
        };
        let stream = Some((Revision::ZERO, Revision::ZERO));
        return Ok(Inspection { found, history, head, stream, oldest_unpublished });
    };
    let state = &stream.cached_info().state;
    let last = Revision(state.last_sequence);
    let found = if let Some(problem) = foreign(&stream.cached_info().config, &history) {
        Found::Blocked(problem)
    } else if state.messages == 0 {
        empty(last, oldest, &head)
    } else {
        match newest(&stream, last).await? {
            None => Found::Stray(format!("revision {last} is missing from the stream")),
            Some(newest) => compare(connection, &newest, last, oldest, &head).await?,
        }
    };
    let first = if state.messages == 0 { Revision::ZERO } else { Revision(state.first_sequence) };
    let oldest_unpublished = age(connection, &head, last).await?;
    Ok(Inspection { found, history, head, stream: Some((first, last)), oldest_unpublished })
}

/// Returns the problem of a stream that belongs to another database.
fn foreign(config: &jetstream::stream::Config, history: &History) -> Option<String> {
    let whose = stream::database_id(config).filter(|id| *id != history.database_id)?;
    Some(format!(
        "stream {} belongs to database {whose}, and this is {}: NATS_URL or DATABASE_URL is that of another system",
        config.name, history.database_id
    ))
}

/// Judges a stream without messages: it is new, or all messages have aged out.
fn empty(last: Revision, oldest: Option<Revision>, head: &Head) -> Found {
    let next = last.next();
    if last > head.revision {
        // Its sequences are published revisions whose messages have aged out.
        let problem = format!(
            "the stream, now empty, has held revision {last} of epoch {} (head {}): PostgreSQL has lost commits that \
             were published",
            head.epoch, head.revision
        );
        return Found::Fork(problem);
    }
    match oldest {
        Some(oldest) if next < oldest => gap(next, oldest),
        None if next <= head.revision => gap(next, head.revision.next()),
        _ => Found::Good { next, after: head.event_id.filter(|_| last == head.revision) },
    }
}

fn gap(next: Revision, oldest: Revision) -> Found {
    Found::Stray(format!("the stream needs revision {next}, the outbox begins at {oldest}"))
}

/// The newest message of the stream.
struct Newest {
    id: Option<Uuid>,
    epoch: Option<u64>,
    /// True also for an event of a newer version: it must not count as a stray message, which the relay deletes.
    is_event_of_its_sequence: bool,
}

async fn newest(stream: &jetstream::stream::Stream, last: Revision) -> Result<Option<Newest>, Error> {
    let message = match stream.get_raw_message(last.0).await {
        Ok(message) => message,
        Err(error) => {
            return match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                _ => Err(Error::nats(error)),
            };
        }
    };
    let header = |name| message.headers.get(name).map(|value| value.as_str());
    Ok(Some(Newest {
        id: header(subjects::HEADER_ID).and_then(|text| text.parse().ok()),
        epoch: header(subjects::HEADER_EPOCH).and_then(|text| text.parse().ok()),
        is_event_of_its_sequence: Event::revision_of(&message.payload) == Some(last),
    }))
}

async fn compare(
    connection: &mut PgConnection,
    newest: &Newest,
    last: Revision,
    oldest: Option<Revision>,
    head: &Head,
) -> Result<Found, Error> {
    let known = if last == head.revision {
        head.event_id.map(|id| (head.epoch, id))
    } else {
        outbox::get_ids(connection, last).await?
    };
    let same = |(epoch, id): (Epoch, Uuid)| newest.id == Some(id) && newest.epoch == Some(epoch.0);
    if known.is_some_and(same) {
        return Ok(Found::Good { next: last.next(), after: newest.id });
    }
    let of_our_epoch =
        newest.id.is_some() && newest.epoch == Some(head.epoch.0) && newest.is_event_of_its_sequence;
    if of_our_epoch && (known.is_some() || last > head.revision) {
        let problem = format!(
            "revision {last} of epoch {} is another event in the stream than in PostgreSQL (head {}): \
             PostgreSQL has lost commits that were published",
            head.epoch, head.revision
        );
        return Ok(Found::Fork(problem));
    }
    if of_our_epoch && let Some(oldest) = oldest {
        // The stream may keep an event longer than the outbox. The next event's prev_id identifies it.
        let follows = oldest == last.next() && outbox::prev_id(connection, oldest).await? == newest.id;
        let good = Found::Good { next: oldest, after: newest.id };
        return Ok(if follows { good } else { gap(last.next(), oldest) });
    }
    Ok(Found::Stray(format!("sequence {last} of the stream is no event of ours")))
}

/// Returns the head, and the age of the oldest event after `last`.
pub async fn waiting(pool: &PgPool, last: Revision) -> Result<(Revision, Option<Duration>), Error> {
    let mut connection = service_kit::postgres::acquire(pool).await?;
    let head = head::get(&mut connection).await?;
    let oldest = age(&mut connection, &head, last).await?;
    Ok((head.revision, oldest))
}

/// Whether the outbox holds events. If the stream was never inspected, any of them may be unpublished.
pub async fn has_events(pool: &PgPool) -> Result<bool, Error> {
    let mut connection = service_kit::postgres::acquire(pool).await?;
    Ok(outbox::oldest(&mut connection).await?.is_some())
}

/// Returns the age of the oldest event after `last`.
async fn age(connection: &mut PgConnection, head: &Head, last: Revision) -> Result<Option<Duration>, Error> {
    if last >= head.revision {
        return Ok(None);
    }
    let committed_at = outbox::committed_at(connection, last.next()).await?;
    Ok(committed_at.map(|at| Duration::try_from(head.now - at).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn head(revision: u64) -> Head {
        Head {
            epoch: Epoch(1),
            revision: Revision(revision),
            event_id: None,
            now: OffsetDateTime::UNIX_EPOCH,
            clock: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_empty_stream_is_continued_or_made_again() {
        let good = |next| Found::Good { next: Revision(next), after: None };
        assert_eq!(empty(Revision(0), None, &head(0)), good(1));
        assert_eq!(empty(Revision(4), Some(Revision(5)), &head(9)), good(5));
        assert_eq!(empty(Revision(9), Some(Revision(5)), &head(9)), good(10));
        assert_eq!(empty(Revision(9), None, &head(9)), good(10));
        let known = Head { event_id: Some(Uuid::from_u128(9)), ..head(9) };
        let after = |last| match empty(Revision(last), Some(Revision(5)), &known) {
            Found::Good { after, .. } => after,
            found => panic!("{found:?}"),
        };
        assert_eq!((after(9), after(8)), (known.event_id, None));
        for (last, oldest, at) in [(3, Some(5), 9), (8, None, 9)] {
            let found = empty(Revision(last), oldest.map(Revision), &head(at));
            assert!(matches!(found, Found::Stray(_)), "{last} {oldest:?} {at}: {found:?}");
        }
    }

    #[test]
    fn an_empty_stream_ahead_of_the_head_is_a_fork() {
        for (last, oldest, at) in [(10, Some(5), 9), (10, None, 9), (1, None, 0)] {
            let found = empty(Revision(last), oldest.map(Revision), &head(at));
            assert!(matches!(found, Found::Fork(_)), "{last} {oldest:?} {at}: {found:?}");
        }
    }
}
