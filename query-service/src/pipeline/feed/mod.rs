//! Events in order after a point: from the stream or, where that fails, from the outbox.
//!
//! Owns: when to read which, and every check on the way: each event is the next revision, of our epoch, and names the
//! one before it. What the stream does not give, or gives wrongly, is read from the outbox, which is the truth. It must
//! not know what the events are for.
//! What can go wrong: servers that are away are waited for without end. Only what no waiting can cure ends a feed; see
//! [`Stop`].

mod check;
mod outbox;
mod stream;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proto::event::DecodeError;
use proto::{Epoch, Revision, Token};
use service_kit::nats::Nats;
use tokio::time::Instant;
use uuid::Uuid;

use self::check::Mismatch;
pub use self::outbox::Outbox;
use self::outbox::Row;
use self::stream::Reading;
use super::{Arrival, Horizon};
use crate::metrics::{FEED_OUTBOX, FEED_REBUILDS};

/// How often the outbox is looked at while the stream does not work.
const POLL: Duration = Duration::from_millis(100);
/// Pauses between attempts to read the stream.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A point of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The point.
    pub at: Token,
    /// The event there, if it is known.
    pub event_id: Option<Uuid>,
}

impl Mark {
    /// A point whose event is not known: the one after it is taken on trust.
    pub fn at(at: Token) -> Self {
        Self { at, event_id: None }
    }
}

/// Why a feed ended.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Neither the stream nor the outbox goes back far enough.
    #[error("neither the stream nor the outbox reaches back to revision {0}")]
    Pruned(Revision),
    /// What was read is not part of the history.
    #[error("revision {0} is not what the source of truth has there")]
    Contradicted(Revision),
    /// Another epoch was opened.
    #[error("another epoch was opened")]
    OtherEpoch,
    /// The outbox holds an event that this program does not understand. It must not be skipped.
    #[error("revision {revision} cannot be read")]
    Unreadable {
        /// Its revision.
        revision: Revision,
        /// Why.
        #[source]
        source: DecodeError,
    },
}

/// Where events come from. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The stream's server.
    pub nats: Nats,
    /// The truth.
    pub outbox: Outbox,
    /// The newest head.
    pub horizon: Arc<Horizon>,
    /// Events of the stream that are asked for at once.
    pub batch: i64,
}

impl Sources {
    /// What the stream of an epoch holds, as (oldest, newest); `None` if it cannot be asked.
    pub async fn stream_reach(&self, epoch: Epoch) -> Option<(Revision, Revision)> {
        let reach = stream::reach(&self.nats, epoch).await.ok()?;
        Some((reach.first, reach.last))
    }

    /// The oldest event that the stream or the outbox still has; `None` if neither has any, or none can be asked.
    pub async fn oldest(&self, epoch: Epoch) -> Option<Revision> {
        let held = |(first, last): (Revision, Revision)| (first <= last).then_some(first);
        let in_stream = self.stream_reach(epoch).await.and_then(held);
        let in_outbox = self.outbox.oldest(epoch).await.ok().flatten();
        in_stream.into_iter().chain(in_outbox).min()
    }
}

/// Events after a point, in order.
pub struct Feed {
    sources: Sources,
    last: Mark,
    reading: Option<Reading>,
    /// Read from the outbox, and not given out yet.
    rows: VecDeque<Row>,
    next_attempt: Instant,
    pause: Duration,
    told: &'static str,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Feed {
    /// Reads the events after `last`.
    pub fn after(last: Mark, sources: Sources) -> Self {
        Self {
            sources,
            last,
            reading: None,
            rows: VecDeque::new(),
            next_attempt: Instant::now(),
            pause: SHORTEST_PAUSE,
            told: "",
        }
    }

    /// Waits for the next event.
    pub async fn next(&mut self) -> Result<Arrival, Stop> {
        loop {
            if self.sources.horizon.epoch().is_some_and(|epoch| epoch > self.last.at.epoch) {
                return Err(Stop::OtherEpoch);
            }
            if let Some(row) = self.rows.pop_front() {
                let arrival = self.checked(&row)?;
                metrics::counter!(FEED_OUTBOX).increment(1);
                return Ok(self.took(arrival));
            }
            if let Some(reading) = &mut self.reading {
                match reading.next(&self.last, &self.sources.horizon).await {
                    Ok(arrival) => {
                        (self.pause, self.told) = (SHORTEST_PAUSE, "");
                        return Ok(self.took(arrival));
                    }
                    Err(trouble) => self.give_up_stream(trouble),
                }
            } else if Instant::now() >= self.next_attempt {
                match Reading::after(&self.last, &self.sources.nats, self.sources.batch).await {
                    Ok(reading) => {
                        self.reading = Some(reading);
                        continue;
                    }
                    Err(trouble) => self.give_up_stream(trouble),
                }
            }
            if !self.read_outbox().await? {
                self.wait().await;
            }
        }
    }

    fn took(&mut self, arrival: Arrival) -> Arrival {
        let event = &arrival.event;
        self.last = Mark { at: Token::new(event.epoch, event.revision), event_id: Some(event.event_id) };
        arrival
    }

    fn give_up_stream(&mut self, trouble: stream::Trouble) {
        metrics::counter!(FEED_REBUILDS, "cause" => trouble.cause).increment(1);
        // The same cause over and over is told once.
        if self.told != trouble.cause {
            tracing::info!(cause = trouble.cause, reason = trouble.reason, "events come from the outbox");
            self.told = trouble.cause;
        }
        self.reading = None;
        self.next_attempt = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Reads a page of the outbox; false if there is nothing new, or if it does not answer.
    async fn read_outbox(&mut self) -> Result<bool, Stop> {
        let last = self.last;
        let (head, rows) = match self.sources.outbox.after(last.at).await {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the outbox cannot be read");
                return Ok(false);
            }
        };
        if head.at.epoch != last.at.epoch {
            return Err(Stop::OtherEpoch);
        }
        let same = head.at == last.at;
        if head.at < last.at || (same && last.event_id.is_some() && head.event_id != last.event_id) {
            return Err(Stop::Contradicted(last.at.revision));
        }
        if same && rows.is_empty() {
            return Ok(false);
        }
        // The rows after ours are gone, or there are none although the head says so.
        if rows.first().is_none_or(|row| row.revision != last.at.revision.next()) {
            return Err(Stop::Pruned(last.at.revision.next()));
        }
        self.rows.extend(rows);
        Ok(true)
    }

    /// The outbox is the truth: what is wrong here is wrong with what was read before, or not for us to read.
    fn checked(&self, row: &Row) -> Result<Arrival, Stop> {
        let unreadable = |source| Stop::Unreadable { revision: row.revision, source };
        check::next(&self.last, None, &row.payload).map_err(|mismatch| match mismatch {
            Mismatch::Unreadable(source) => unreadable(source),
            Mismatch::Chain => Stop::Contradicted(self.last.at.revision),
            Mismatch::OtherPlace(_) | Mismatch::Header => unreadable(DecodeError::Field("revision")),
        })
    }

    /// Until the outbox or the stream is worth another look.
    async fn wait(&mut self) {
        let mut connected = self.sources.nats.connected.clone();
        connected.mark_unchanged();
        let pause = self.next_attempt.saturating_duration_since(Instant::now()).min(POLL);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Ok(()) = connected.changed() => {
                (self.next_attempt, self.pause) = (Instant::now(), SHORTEST_PAUSE);
            }
        }
    }
}
