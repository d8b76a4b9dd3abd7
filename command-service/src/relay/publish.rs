//! Publishes events with many in flight; the stream takes each only as its next one.

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

use super::error::Error;
use super::status::StreamStatus;
use crate::clock::DatabaseClock;
use crate::metrics;
use crate::store::outbox::{self, Entry};
use crate::store::recent::Recent;
use crate::store::within;

/// Maximum number of unacknowledged events.
const WINDOW: usize = 512;
/// Events of one read. An event of an import may have 200 kB.
const READ: usize = 128;
/// Interval of polls. A signal may get lost.
const POLL: Duration = Duration::from_millis(100);
/// Bound of the largest event with its headers. NATS takes 1 MB by default.
pub const LARGEST_MESSAGE: usize = 512 << 10;
/// Value of the header `ce-source`.
const SOURCE: &str = "followgraph/command-service";

/// Dependencies of publishing.
pub struct Context<'a> {
    /// Source of the outbox.
    pub pool: &'a PgPool,
    /// Connection to the stream.
    pub jetstream: &'a jetstream::Context,
    /// The current epoch.
    pub epoch: Epoch,
    /// Events that this process has committed.
    pub recent: &'a Recent,
    /// Receives the last published revision.
    pub status: &'a watch::Sender<StreamStatus>,
    /// Measures how long events waited.
    pub clock: &'a DatabaseClock,
}

impl Context<'_> {
    /// Publishes committed events from revision `next` until `until`. Returns after the acknowledgement of all of them.
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
        let mut in_flight = InFlight { clock: self.clock, sent: VecDeque::new() };
        // A signal may get lost, so the outbox is polled first and after each wait without a signal.
        let mut poll = true;
        while Instant::now() < until && !stop.is_cancelled() {
            let head = committed.borrow_and_update().revision;
            let entries = self.next_entries(next, poll || head >= next).await?;
            poll = false;
            if entries.is_empty() {
                in_flight.drain().await?;
                self.record_published(next);
                poll = !self.wait(until, committed, stop).await;
            }
            for entry in entries {
                if entry.revision() != next || entry.epoch() != self.epoch {
                    // The outbox was pruned or a new epoch has begun: inspect again.
                    return in_flight.drain().await;
                }
                if !follows(&entry, after) {
                    // PostgreSQL lost commits in a failover since the inspection. The stream, or the memory of this
                    // process, has the history before it. Publishing the new history would hide the fork.
                    self.recent.clear();
                    in_flight.drain().await?;
                    return Err(Error::Unchained(next));
                }
                (next, after) = (next.next(), Some(entry.event_id));
                in_flight.send(self.jetstream, &entry).await?;
            }
        }
        in_flight.drain().await
    }

    /// Returns events from memory, else from the outbox if `poll`.
    async fn next_entries(&self, next: Revision, poll: bool) -> Result<Vec<Arc<Entry>>, Error> {
        let recent = self.recent.from(self.epoch, next, READ);
        if !recent.is_empty() || !poll {
            return Ok(recent);
        }
        let entries = within(async {
            let mut connection = service_kit::postgres::acquire(self.pool).await?;
            outbox::list_from(&mut connection, next, READ).await
        });
        let entries = entries.await?;
        Ok(entries.into_iter().map(Arc::new).collect())
    }

    /// Records that the stream has everything before `next`.
    fn record_published(&self, next: Revision) {
        let last = Revision(next.0.saturating_sub(1));
        self.status.send_if_modified(|status| {
            status.oldest_unpublished = None;
            std::mem::replace(&mut status.last, last) != last
        });
        // Revisions above 2^53 lose precision, which does not matter in a chart.
        ::metrics::gauge!(metrics::STREAM_REVISION).set(last.0 as f64);
        ::metrics::gauge!(metrics::OUTBOX_UNPUBLISHED).set(0.0);
        ::metrics::gauge!(metrics::OUTBOX_OLDEST_SECONDS).set(0.0);
    }

    /// Waits for a signal; returns false after the poll interval.
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

/// Whether an event is the next one after `after`. Every event follows an unknown one.
fn follows(entry: &Entry, after: Option<Uuid>) -> bool {
    after.is_none_or(|id| entry.prev_id == Some(id))
}

/// Events that are sent but not acknowledged.
struct InFlight<'a> {
    clock: &'a DatabaseClock,
    sent: VecDeque<(Sent, PublishAckFuture)>,
}

/// Data of an event for its acknowledgement.
struct Sent {
    revision: Revision,
    committed_at: OffsetDateTime,
    /// Ends with the acknowledgement.
    span: Span,
}

impl InFlight<'_> {
    async fn send(&mut self, jetstream: &jetstream::Context, entry: &Entry) -> Result<(), Error> {
        if self.sent.len() >= WINDOW {
            self.await_oldest().await?;
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
            _ => Error::nats(error),
        })?;
        let sent = Sent { revision: entry.revision(), committed_at: entry.committed_at, span };
        self.sent.push_back((sent, ack));
        Ok(())
    }

    async fn drain(&mut self) -> Result<(), Error> {
        while !self.sent.is_empty() {
            self.await_oldest().await?;
        }
        Ok(())
    }

    /// Waits for the acknowledgement of the oldest event. Its sequence must be the event's revision.
    async fn await_oldest(&mut self) -> Result<(), Error> {
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
        // Two hosts' clocks: it may be negative.
        ::metrics::histogram!(metrics::PUBLISH_LAG_SECONDS).record(lag.max(0.0));
        Ok(())
    }
}

/// CloudEvents 1.0, binary mode. No `Nats-Msg-Id`: a cluster checks for duplicates before it checks the expected
/// sequence, and would acknowledge other content with the same id.
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
