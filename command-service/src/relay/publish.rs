//! Publishing: many events in flight, each only as the next one of the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use proto::{Epoch, Revision, Token, subjects};
use service_kit::trace::{Kind, Span};
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::recent::Recent;
use super::stream::nats;
use super::{Error, Standing};
use crate::clock::DatabaseClock;
use crate::metrics;
use crate::store::outbox::{self, Entry};
use crate::store::within;

/// How many events may be unacknowledged.
const WINDOW: usize = 512;
/// How many events are read at once; an event of an import may have 200 kB.
const READ: usize = 128;
/// Behind the signals: a signal may get lost.
const POLL: Duration = Duration::from_millis(100);
/// Above the largest event with its headers. NATS takes 1 MB by default.
pub const LARGEST_MESSAGE: usize = 512 << 10;
/// What `ce-source` says.
const SOURCE: &str = "followgraph/command-service";

/// What publishing needs.
pub struct Context<'a> {
    /// Where the outbox is.
    pub pool: &'a PgPool,
    /// Where the stream is.
    pub jetstream: &'a jetstream::Context,
    /// The present epoch.
    pub epoch: Epoch,
    /// What this process has just committed.
    pub recent: &'a Recent,
    /// Told how far the stream has come.
    pub standing: &'a watch::Sender<Standing>,
    /// For how long events waited.
    pub clock: &'a DatabaseClock,
}

impl Context<'_> {
    /// Publishes from `next` on what is committed, and what comes in, until the time
    /// is up. Returns only when all that it sent is acknowledged.
    ///
    /// `after` is the newest event of the stream; `None` if that is not known.
    pub async fn publish_from(
        &self,
        mut next: Revision,
        mut after: Option<Uuid>,
        until: Instant,
        committed: &mut watch::Receiver<Token>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let mut flight = Flight { clock: self.clock, sent: VecDeque::new() };
        // A signal may get lost, so the outbox is looked at first and after each wait in vain.
        let mut look = true;
        while Instant::now() < until && !stop.is_cancelled() {
            let head = committed.borrow_and_update().revision;
            let entries = self.next_entries(next, look || head >= next).await?;
            look = false;
            if entries.is_empty() {
                flight.land_all().await?;
                self.tell(next);
                look = !self.wait(until, committed, stop).await;
            }
            for entry in entries {
                if entry.revision() != next || entry.epoch() != self.epoch {
                    // The outbox was pruned or a new epoch has begun: look again.
                    return flight.land_all().await;
                }
                if !follows(&entry, after) {
                    // PostgreSQL lost commits in a failover since the stream was looked at: the stream, or what this
                    // process keeps, is of the history before. Published, the new history would hide the fork.
                    self.recent.clear();
                    flight.land_all().await?;
                    return Err(Error::Unchained(next));
                }
                (next, after) = (next.next(), Some(entry.event_id));
                flight.send(self.jetstream, &entry).await?;
            }
        }
        flight.land_all().await
    }

    /// What this process has just committed is at hand; the rest is in the outbox.
    async fn next_entries(&self, next: Revision, look: bool) -> Result<Vec<Arc<Entry>>, Error> {
        let recent = self.recent.from(self.epoch, next, READ);
        if !recent.is_empty() || !look {
            return Ok(recent);
        }
        let entries = within(async {
            let mut connection = service_kit::postgres::acquire(self.pool).await?;
            outbox::list_from(&mut connection, next, READ).await
        });
        let entries = entries.await?;
        Ok(entries.into_iter().map(Arc::new).collect())
    }

    /// Everything before `next` is in the stream.
    fn tell(&self, next: Revision) {
        let last = Revision(next.0.saturating_sub(1));
        self.standing.send_if_modified(|standing| {
            standing.oldest_unpublished = None;
            std::mem::replace(&mut standing.last, last) != last
        });
        // A figure for people; digits beyond 2^53 do not matter.
        ::metrics::gauge!(metrics::STREAM_REVISION).set(last.0 as f64);
        ::metrics::gauge!(metrics::OUTBOX_UNPUBLISHED).set(0.0);
        ::metrics::gauge!(metrics::OUTBOX_OLDEST_SECONDS).set(0.0);
    }

    /// Waits for a signal; false if none came for a while.
    async fn wait(
        &self,
        until: Instant,
        committed: &mut watch::Receiver<Token>,
        stop: &CancellationToken,
    ) -> bool {
        tokio::select! {
            changed = committed.changed() => {
                if changed.is_err() {
                    tokio::time::sleep(POLL).await;
                }
                changed.is_ok()
            }
            () = tokio::time::sleep(POLL) => false,
            () = tokio::time::sleep_until(until) => false,
            () = stop.cancelled() => false,
        }
    }
}

/// Whether an event is the one after this event. Anything follows an unknown one.
fn follows(entry: &Entry, after: Option<Uuid>) -> bool {
    after.is_none_or(|id| entry.prev_id == Some(id))
}

/// Events that are sent and not acknowledged.
struct Flight<'a> {
    clock: &'a DatabaseClock,
    sent: VecDeque<(Sent, PublishAckFuture)>,
}

/// What is to be known of an event when it is acknowledged.
struct Sent {
    revision: Revision,
    committed_at: OffsetDateTime,
    /// Ends with the acknowledgement.
    span: Span,
}

impl Flight<'_> {
    async fn send(&mut self, jetstream: &jetstream::Context, entry: &Entry) -> Result<(), Error> {
        if self.sent.len() >= WINDOW {
            self.land().await?;
        }
        let subject = subjects::event_subject(&entry.verb);
        let mut span =
            Span::of(|| format!("publish {subject}").into(), Kind::Producer, entry.traceparent.as_deref());
        span.set("revision", entry.revision().0);
        let sent = jetstream
            .publish_with_headers(subject, headers(entry, &span), entry.payload.clone().into())
            .await;
        let ack = sent.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => {
                Error::TooLarge { revision: entry.revision(), bytes: entry.payload.len() }
            }
            _ => nats(error),
        })?;
        let sent = Sent { revision: entry.revision(), committed_at: entry.committed_at, span };
        self.sent.push_back((sent, ack));
        Ok(())
    }

    async fn land_all(&mut self) -> Result<(), Error> {
        while !self.sent.is_empty() {
            self.land().await?;
        }
        Ok(())
    }

    /// Waits for the oldest acknowledgement; it must be of the event's own revision.
    async fn land(&mut self) -> Result<(), Error> {
        let Some((mut sent, ack)) = self.sent.pop_front() else { return Ok(()) };
        let revision = sent.revision;
        let refused = |problem: String| Error::Refused { revision, problem };
        let ack = ack.await.map_err(|error| {
            sent.span.failed("refused");
            refused(error.to_string())
        })?;
        if ack.sequence != revision.0 || ack.duplicate {
            return Err(refused(format!("stored as sequence {}, duplicate {}", ack.sequence, ack.duplicate)));
        }
        ::metrics::counter!(metrics::EVENTS_PUBLISHED).increment(1);
        let lag = (self.clock.now() - sent.committed_at).as_seconds_f64();
        // Two machines' clocks.
        ::metrics::histogram!(metrics::PUBLISH_LAG_SECONDS).record(lag.max(0.0));
        Ok(())
    }
}

/// CloudEvents 1.0, binary mode. No `Nats-Msg-Id`: a cluster checks for duplicates
/// before it checks the expected sequence, and would acknowledge other content under
/// the same id.
fn headers(entry: &Entry, span: &Span) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Sequence", entry.revision().0.saturating_sub(1).to_string());
    headers.insert(subjects::HEADER_ID, entry.event_id.to_string());
    headers.insert(subjects::HEADER_SOURCE, SOURCE);
    headers.insert(subjects::HEADER_TYPE, subjects::event_type(&entry.verb));
    headers.insert(subjects::HEADER_SPECVERSION, "1.0");
    headers.insert(subjects::HEADER_TIME, entry.committed_at.format(&Rfc3339).unwrap_or_default());
    headers.insert(subjects::HEADER_DATACONTENTTYPE, "application/protobuf");
    headers.insert(subjects::HEADER_SEQUENCE, entry.revision().to_string());
    headers.insert(subjects::HEADER_EPOCH, entry.epoch().to_string());
    if let Some(traceparent) = span.traceparent().or_else(|| entry.traceparent.clone()) {
        headers.insert(subjects::HEADER_TRACEPARENT, traceparent);
    }
    headers
}

#[cfg(test)]
mod tests {
    use proto::event::{AccountCounts, EdgeChange, EdgeKey, EdgeKind, EdgeOp, Event, MAX_EDGES, Verb};
    use proto::{Position, UserId};

    use super::*;

    #[test]
    fn an_event_of_another_history_does_not_follow() {
        let [published, other] = [105, 205].map(Uuid::from_u128);
        let entry = |prev_id| Entry::empty(106, prev_id);
        assert!(follows(&entry(Some(published)), Some(published)));
        assert!(!follows(&entry(Some(other)), Some(published)));
        assert!(!follows(&entry(None), Some(published)));
        // The stream is empty.
        assert!(follows(&entry(Some(other)), None));
        assert!(follows(&entry(None), None));
    }

    #[test]
    fn the_largest_event_fits_into_what_nats_must_take() {
        let user = |number: usize| UserId::new(Uuid::from_u128(u128::MAX - number as u128)).expect("not nil");
        let latest = OffsetDateTime::from_unix_timestamp(253_402_300_799).expect("a date");
        let edges = (0..MAX_EDGES).map(|number| EdgeChange {
            key: EdgeKey {
                kind: EdgeKind::FollowRequest,
                source: user(2 * number),
                target: user(2 * number + 1),
            },
            op: EdgeOp::Updated,
            position: Position::from_i64(i64::MAX),
            created_at: latest,
            expires_at: Some(latest),
        });
        let counts = (0..2 * MAX_EDGES).map(|number| AccountCounts {
            user: user(number),
            followers: u64::MAX,
            following: u64::MAX,
            muting: u64::MAX,
            blocking: u64::MAX,
            requests_sent: u64::MAX,
            requests_received: u64::MAX,
        });
        let event = Event {
            epoch: Epoch(u64::MAX),
            revision: Revision(u64::MAX),
            event_id: Uuid::max(),
            prev_id: Some(Uuid::max()),
            committed_at: latest,
            verb: Verb::Import,
            actor: Some(user(0)),
            edges: edges.collect(),
            accounts: Vec::new(),
            counts: counts.collect(),
        };
        let headers = 2 << 10;
        let bytes = event.encode().len() + headers;
        assert!(bytes < LARGEST_MESSAGE, "{bytes}");
    }
}
