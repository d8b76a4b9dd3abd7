//! Events from the JetStream stream.
//!
//! Owns: one ordered consumer from the revision after ours, until something is not as it should be. It repairs nothing:
//! it says why it ended, and its owner reads on from the outbox and builds another.
//! It must not know any SQL. What can go wrong: a consumer may stand ahead of a stream that has lost its tail, with no
//! error and nothing pending, so silence is compared with the head all the time.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::{self, Message};
use futures::StreamExt as _;
use proto::{Epoch, Revision, subjects};
use service_kit::nats::Nats;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::{Mark, check};
use crate::pipeline::{Arrival, Horizon};

/// Longest wait for an answer about the stream.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often silence is questioned.
const TICK: Duration = Duration::from_millis(250);
/// How long nothing may arrive while the head is ahead.
const STALL: Duration = Duration::from_secs(1);
/// Events in a row that came before, after which the consumer is opened anew at the right place: one that was opened
/// again by itself, before it had delivered anything, begins with the first event of the stream.
const MANY_SKIPPED: u32 = 1_000;

/// Why the stream does not give the next event now.
#[derive(Debug)]
pub struct Trouble {
    /// For the metric.
    pub cause: &'static str,
    /// For people.
    pub reason: String,
}

impl Trouble {
    fn new(cause: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { cause, reason: reason.to_string() }
    }

    fn unanswered() -> Self {
        Self::new("timeout", "JetStream does not answer")
    }
}

/// What a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The oldest revision, or the next one if it is empty.
    pub first: Revision,
    /// The newest revision, also if it is gone.
    pub last: Revision,
}

/// A consumer of the stream.
pub struct Reading {
    messages: Ordered,
    connected: watch::Receiver<bool>,
    ticks: Interval,
    arrived: Instant,
    skipped: u32,
}

/// What the stream of an epoch holds.
pub async fn reach(nats: &Nats, epoch: Epoch) -> Result<Reach, Trouble> {
    if !nats.is_connected() {
        return Err(Trouble::new("disconnected", "NATS is not connected"));
    }
    let context = jetstream::new(nats.client.clone());
    let look = context.get_stream(subjects::stream_name(epoch));
    let stream = tokio::time::timeout(PATIENCE, look)
        .await
        .map_err(|_| Trouble::unanswered())?
        .map_err(|error| Trouble::new("stream", error))?;
    let state = &stream.cached_info().state;
    Ok(Reach { first: Revision(state.first_sequence), last: Revision(state.last_sequence) })
}

impl Reading {
    /// Begins after a point.
    pub async fn after(last: &Mark, nats: &Nats, batch: i64) -> Result<Self, Trouble> {
        let mut connected = nats.connected.clone();
        if !*connected.borrow_and_update() {
            return Err(Trouble::new("disconnected", "NATS is not connected"));
        }
        let next = last.at.revision.next();
        let context = jetstream::new(nats.client.clone());
        let open = async {
            let stream = context
                .get_stream(subjects::stream_name(last.at.epoch))
                .await
                .map_err(|error| Trouble::new("stream", error))?;
            let state = &stream.cached_info().state;
            if state.last_sequence >= state.first_sequence && state.first_sequence > next.0 {
                return Err(Trouble::new("gap", format!("the stream begins at {}", state.first_sequence)));
            }
            let config = OrderedConfig {
                description: Some("query-service".to_owned()),
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next.0 },
                max_batch: batch,
                ..OrderedConfig::default()
            };
            let consumer =
                stream.create_consumer(config).await.map_err(|error| Trouble::new("consumer", error))?;
            consumer.messages().await.map_err(|error| Trouble::new("consumer", error))
        };
        let messages = tokio::time::timeout(PATIENCE, open).await.map_err(|_| Trouble::unanswered())??;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { messages, connected, ticks, arrived: Instant::now(), skipped: 0 })
    }

    /// Waits for the next event.
    pub async fn next(&mut self, last: &Mark, horizon: &Horizon) -> Result<Arrival, Trouble> {
        loop {
            tokio::select! {
                biased;
                message = self.messages.next() => {
                    let message = message
                        .ok_or_else(|| Trouble::new("consumer", "the consumer ended"))?
                        .map_err(|error| Trouble::new("consumer", error))?;
                    if let Some(arrival) = take(&message, last)? {
                        (self.arrived, self.skipped) = (Instant::now(), 0);
                        return Ok(arrival);
                    }
                    self.skipped += 1;
                    if self.skipped > MANY_SKIPPED {
                        return Err(Trouble::new("redelivery", "the consumer begins too early"));
                    }
                }
                changed = self.connected.changed() => {
                    // The consumer itself would wait in silence for the connection to come back.
                    if changed.is_err() || !*self.connected.borrow_and_update() {
                        return Err(Trouble::new("disconnected", "NATS is not connected"));
                    }
                }
                _ = self.ticks.tick() => {
                    let ahead = horizon.head().is_some_and(|head| head > last.at);
                    if ahead && self.arrived.elapsed() >= STALL {
                        return Err(Trouble::new("stall", "the stream does not deliver what is committed"));
                    }
                }
            }
        }
    }
}

/// The event of a message; `None` for one that came before.
fn take(message: &Message, last: &Mark) -> Result<Option<Arrival>, Trouble> {
    let info = message.info().map_err(|error| Trouble::new("consumer", error))?;
    let next = last.at.revision.next();
    if info.stream_sequence < next.0 {
        return Ok(None);
    }
    if info.stream_sequence > next.0 {
        return Err(Trouble::new("gap", format!("revision {next} is missing in the stream")));
    }
    let headers = message.headers.as_ref();
    let id = headers.and_then(|headers| headers.get(subjects::HEADER_ID)).map(|value| value.as_str());
    check::next(last, Some(id.unwrap_or_default()), &message.payload).map(Some).map_err(|mismatch| {
        Trouble::new("foreign", format!("the stream holds something else at revision {next}: {mismatch}"))
    })
}
