//! Events from the JetStream stream: one ordered consumer from the next revision on, until a failure.
//!
//! A consumer may be ahead of a stream that has lost its tail, without an error and without pending messages. So
//! silence is compared with the known head.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::stream::Stream;
use futures::StreamExt as _;
use proto::subjects;
use service_kit::{trace, with_timeout};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::event::{LoggedEvent, Stop};
use crate::position::{LogPosition, ReadEvents};
use crate::reach::{REQUEST_TIMEOUT, Trouble, find};
use crate::sources::Sources;
use crate::verify;

/// How often silence is compared with the head.
const TICK: Duration = Duration::from_millis(250);
/// The stream stalls if it delivers nothing for this time while the head is ahead.
const STALL: Duration = Duration::from_secs(1);
/// Consecutive redelivered events after which the consumer is created again: one that the client recreated before it
/// had delivered anything begins with the first event of the stream.
const MAX_REDELIVERED: u32 = 1_000;

/// Why the consumer ended.
#[derive(Debug)]
pub enum Ended {
    /// No source can continue.
    Stop(Stop),
    /// The outbox can continue.
    Trouble(Trouble),
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// A consumer of the stream.
pub struct Consumer {
    sources: Sources,
    stream: Stream,
    messages: Ordered,
    connected: watch::Receiver<bool>,
    ticks: Interval,
    arrived: Instant,
    asked: Instant,
    redelivered: u32,
}

impl Consumer {
    /// Opens a consumer of the events after a position.
    pub async fn after(
        last: &LogPosition,
        sources: &Sources,
        seen: &mut Option<u64>,
    ) -> Result<Self, Trouble> {
        let mut connected = sources.nats.connected.clone();
        if !*connected.borrow_and_update() {
            return Err(Trouble::disconnected());
        }
        let open = async {
            let stream = find(&sources.nats, last.epoch).await?;
            let state = &stream.cached_info().state;
            check_reach(state.first_sequence, state.last_sequence, last, seen)?;
            sources.monitor.stream_behind(last.revision.0.saturating_sub(state.last_sequence));
            let config = OrderedConfig {
                description: Some(sources.consumer.to_owned()),
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: last.revision.next().0 },
                max_batch: sources.batch,
                ..OrderedConfig::default()
            };
            let consumer =
                stream.create_consumer(config).await.map_err(|error| Trouble::new("consumer", error))?;
            let messages = consumer.messages().await.map_err(|error| Trouble::new("consumer", error))?;
            Ok((stream, messages))
        };
        let (stream, messages) = with_timeout(REQUEST_TIMEOUT, open, Trouble::timeout).await?;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        let sources = sources.clone();
        Ok(Self { sources, stream, messages, connected, ticks, arrived: now, asked: now, redelivered: 0 })
    }

    /// Waits for the next event.
    pub async fn next(&mut self, last: &LogPosition, read: &ReadEvents) -> Result<LoggedEvent, Ended> {
        loop {
            tokio::select! {
                biased;
                message = self.messages.next() => {
                    let message = message
                        .ok_or_else(|| Trouble::new("consumer", "the consumer ended"))?
                        .map_err(|error| Trouble::new("consumer", error))?;
                    self.arrived = Instant::now();
                    if let Some(event) = decode(&message, last, &self.sources)? {
                        self.redelivered = 0;
                        return Ok(event);
                    }
                    self.sources.monitor.redelivered();
                    self.redelivered += 1;
                    if self.redelivered > MAX_REDELIVERED {
                        return Err(Trouble::new("redelivery", "the consumer begins too early").into());
                    }
                }
                changed = self.connected.changed() => {
                    // The consumer itself would wait in silence for the connection to come back.
                    if changed.is_err() || !*self.connected.borrow_and_update() {
                        return Err(Trouble::disconnected().into());
                    }
                }
                _ = self.ticks.tick() => self.question_silence(last, read).await?,
            }
        }
    }

    async fn question_silence(&mut self, last: &LogPosition, read: &ReadEvents) -> Result<(), Ended> {
        let stalled = self.arrived.elapsed() >= STALL;
        let ask = stalled && self.asked.elapsed() >= STALL;
        if ask {
            self.asked = Instant::now();
        }
        let ahead = head_ahead(last, &self.sources, ask).await?;
        if ahead && stalled {
            return Err(Trouble::new("stall", "the stream does not deliver what is committed").into());
        }
        if ask {
            let info = async { self.stream.info().await.map_err(|error| Trouble::new("stream", error)) };
            let newest = with_timeout(REQUEST_TIMEOUT, info, Trouble::timeout).await?.state.last_sequence;
            self.sources.monitor.stream_behind(last.revision.0.saturating_sub(newest));
            if newest < last.revision.0 {
                check_history(read, &self.sources).await?;
            }
        }
        Ok(())
    }
}

/// Events from the outbox that the stream lacks may have been lost in a failover: then the stream gets other events at
/// these revisions, and this consumer, which starts after them, misses those.
async fn check_history(read: &ReadEvents, sources: &Sources) -> Result<(), Ended> {
    match tokio::time::timeout(REQUEST_TIMEOUT, sources.outbox.head()).await {
        Ok(Ok(head)) if read.contradict(&head) => Err(Ended::Stop(Stop::Contradicted(head.revision))),
        _ => Ok(()),
    }
}

/// True if the head is ahead. Without a heartbeat of our epoch, and if `ask` is set, reads it from PostgreSQL: only
/// PostgreSQL can confirm that another epoch was opened.
async fn head_ahead(last: &LogPosition, sources: &Sources, ask: bool) -> Result<bool, Ended> {
    if let Some(head) = sources.head.head().filter(|head| head.epoch == last.epoch) {
        return Ok(head > last.token());
    }
    if !ask {
        return Ok(false);
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, sources.outbox.head()).await {
        Ok(Ok(head)) if head.epoch != last.epoch => Err(Ended::Stop(Stop::OtherEpoch)),
        Ok(Ok(head)) => Ok(head.revision > last.revision),
        // Without a head, nothing is known to be missing.
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}

/// The stream must hold the next revision, or be about to.
fn check_reach(first: u64, newest: u64, last: &LogPosition, seen: &mut Option<u64>) -> Result<(), Trouble> {
    let grew = seen.replace(newest).is_none_or(|before| newest > before);
    if newest >= first && first > last.revision.next().0 {
        return Err(Trouble::new("gap", format!("the stream begins at revision {first}")));
    }
    // A stream that is behind and grows has a working relay; one that does not grow would never deliver.
    if newest < last.revision.0 && !grew {
        return Err(Trouble::new("behind", format!("the stream ends at revision {newest}")));
    }
    Ok(())
}

/// The event of a message; `None` for one that was read before.
fn decode(message: &Message, last: &LogPosition, sources: &Sources) -> Result<Option<LoggedEvent>, Trouble> {
    let info = message.info().map_err(|error| Trouble::new("consumer", error))?;
    let next = last.revision.next();
    if info.stream_sequence < next.0 {
        return Ok(None);
    }
    if info.stream_sequence > next.0 {
        return Err(Trouble::new("gap", format!("revision {next} is missing in the stream")));
    }
    let header =
        |name| message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
    let id = header(subjects::HEADER_ID).unwrap_or_default();
    match verify::next(last, Some(id), &message.payload) {
        Ok(event) => Ok(Some(LoggedEvent {
            event,
            // A copy: the bytes are a piece of the connection's buffer, and would keep all of it.
            payload: (&*message.payload).into(),
            traceparent: header(subjects::HEADER_TRACEPARENT).filter(|_| trace::enabled()).map(str::to_owned),
        })),
        Err(mismatch) => {
            sources.monitor.foreign();
            tracing::warn!(
                revision = next.0,
                reason = &mismatch as &dyn std::error::Error,
                "the stream holds something else at this revision"
            );
            Err(Trouble::new("foreign", format!("the stream holds something else at revision {next}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Revision};

    use super::*;

    fn at(revision: u64) -> LogPosition {
        LogPosition { epoch: Epoch(1), revision: Revision(revision), event_id: None }
    }

    #[test]
    fn a_stream_that_begins_too_late_is_a_gap() {
        assert!(check_reach(8, 20, &at(7), &mut None).is_ok());
        assert!(check_reach(9, 20, &at(7), &mut None).is_err());
        // Empty and created at the next revision.
        assert!(check_reach(8, 7, &at(7), &mut None).is_ok());
    }

    #[test]
    fn a_stream_that_is_behind_must_grow() {
        let mut seen = None;
        assert!(check_reach(1, 5, &at(7), &mut seen).is_ok());
        assert!(check_reach(1, 5, &at(7), &mut seen).is_err());
        assert!(check_reach(1, 6, &at(7), &mut seen).is_ok());
    }
}
