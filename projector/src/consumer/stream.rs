//! Reading the JetStream stream.
//!
//! Owns: one ordered consumer from the revision after ours, until something is not as it should be. It repairs nothing:
//! it says why it ended, and its owner reads on from the outbox and builds another.
//! Must not know: SQL. What can go wrong: a consumer may stand ahead of a stream that has lost its tail, with no error and
//! nothing pending, so silence is compared with the head all the time.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, Message};
use futures::StreamExt as _;
use proto::{Revision, event, subjects};
use service_kit::trace;
use tokio::time::{Instant, MissedTickBehavior};

use super::check;
use super::{Outlet, Sources, Stop};
use crate::apply::Item;
use crate::mark::Mark;
use crate::metrics::{FOREIGN, HEAD, REDELIVERIES, STREAM_BEHIND};

/// Longest wait for an answer about the stream.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often silence is questioned.
const TICK: Duration = Duration::from_millis(250);
/// How long nothing may arrive while the head is ahead.
const STALL: Duration = Duration::from_secs(1);
/// Redelivered events in a row that are skipped before the consumer is built anew at the right place.
const MANY_REDELIVERIES: u32 = 1_000;

/// Why reading ended.
pub enum Ended {
    /// For good.
    Stop(Stop),
    /// The reader is gone.
    Closed,
    /// The stream does not give the next event now.
    Because {
        /// For the metric.
        cause: &'static str,
        /// For people.
        reason: String,
    },
}

fn because(cause: &'static str, reason: impl Into<String>) -> Ended {
    Ended::Because { cause, reason: reason.into() }
}

fn failed(cause: &'static str, error: impl std::fmt::Display) -> Ended {
    because(cause, error.to_string())
}

/// Where the stream stood when it was last opened; tells a relay that is slow from one that is dead.
#[derive(Debug, Default)]
pub struct Seen {
    last: Option<u64>,
}

/// Sends events of the stream; `last` moves along. `sent` counts them.
pub async fn read(
    sources: &Sources,
    last: &mut Mark,
    outlet: &Outlet,
    seen: &mut Seen,
    sent: &mut u64,
) -> Ended {
    match follow(sources, last, outlet, seen, sent).await {
        Err(ended) => ended,
        Ok(never) => match never {},
    }
}

async fn follow(
    sources: &Sources,
    last: &mut Mark,
    outlet: &Outlet,
    seen: &mut Seen,
    sent: &mut u64,
) -> Result<std::convert::Infallible, Ended> {
    let mut connected = sources.nats.connected.clone();
    if !*connected.borrow_and_update() {
        return Err(because("disconnected", "NATS is not connected"));
    }
    let name = subjects::stream_name(last.epoch);
    let context = jetstream::new(sources.nats.client.clone());
    let opened = async {
        let stream = context.get_stream(&name).await.map_err(|e| failed("stream", e))?;
        let state = &stream.cached_info().state;
        check_reach(state.first_sequence, state.last_sequence, *last, seen)?;
        let config = pull::OrderedConfig {
            description: Some("projector".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: last.revision.next().0 },
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|e| failed("consumer", e))?;
        let messages = consumer.messages().await.map_err(|e| failed("consumer", e))?;
        Ok((stream, messages))
    };
    let (mut stream, mut messages) = tokio::time::timeout(PATIENCE, opened)
        .await
        .map_err(|_| because("timeout", "JetStream does not answer"))??;

    sources.latch.ready();
    sources.board.change(|status| status.stream_problem.clear());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut arrived = Instant::now();
    let mut asked = Instant::now();
    let mut redelivered = 0;
    loop {
        tokio::select! {
            biased;
            message = messages.next() => {
                let message = message.ok_or_else(|| because("consumer", "the consumer ended"))?;
                let message = message.map_err(|e| failed("consumer", e))?;
                match take(&message, *last)? {
                    None => {
                        metrics::counter!(REDELIVERIES).increment(1);
                        redelivered += 1;
                        if redelivered > MANY_REDELIVERIES {
                            return Err(because("redelivery", "the consumer begins too early"));
                        }
                    }
                    Some(item) => {
                        if *sent == 0 {
                            // The stream goes on after what is applied.
                            metrics::gauge!(STREAM_BEHIND).set(0.0);
                        }
                        redelivered = 0;
                        *last = item.mark;
                        outlet.send(item).await.map_err(|_| Ended::Closed)?;
                        *sent += 1;
                    }
                }
                arrived = Instant::now();
            }
            changed = connected.changed() => {
                // The consumer itself would wait in silence for the connection to come back.
                if changed.is_err() || !*connected.borrow_and_update() {
                    return Err(because("disconnected", "NATS is not connected"));
                }
            }
            _ = ticks.tick() => {
                let silent = arrived.elapsed();
                let ask = silent >= STALL && asked.elapsed() >= STALL;
                let ahead = head_ahead(sources, *last, ask).await?;
                if ahead && silent >= STALL {
                    return Err(because("stall", "the stream does not deliver what is committed"));
                }
                if ask {
                    asked = Instant::now();
                    let state = tokio::time::timeout(PATIENCE, stream.info())
                        .await
                        .map_err(|_| because("timeout", "JetStream does not answer"))?
                        .map_err(|e| failed("stream", e))?
                        .state
                        .clone();
                    note_behind(state.last_sequence, *last);
                }
            }
        }
    }
}

/// The stream must hold what comes next, or be about to.
fn check_reach(first: u64, newest: u64, last: Mark, seen: &mut Seen) -> Result<(), Ended> {
    let moved = seen.last.replace(newest).is_none_or(|before| newest > before);
    note_behind(newest, last);
    if newest >= first && first > last.revision.next().0 {
        return Err(because("gap", format!("the stream begins at revision {first}")));
    }
    // A stream that is behind and grows is a relay at work; one that stands still would leave us waiting.
    if newest < last.revision.0 && !moved {
        return Err(because("behind", format!("the stream ends at revision {newest}")));
    }
    Ok(())
}

fn note_behind(newest: u64, last: Mark) {
    // A figure for people; digits beyond 2^53 do not matter.
    metrics::gauge!(STREAM_BEHIND).set(last.revision.0.saturating_sub(newest) as f64);
}

/// The event of a message; `None` for one that was applied before.
fn take(message: &Message, last: Mark) -> Result<Option<Item>, Ended> {
    let info = message.info().map_err(|e| failed("consumer", e))?;
    let next = last.revision.next();
    if info.stream_sequence < next.0 {
        return Ok(None);
    }
    if info.stream_sequence > next.0 {
        return Err(because("gap", format!("revision {next} is missing in the stream")));
    }
    let header =
        |name| message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
    let foreign = |reason: String| {
        metrics::counter!(FOREIGN).increment(1);
        tracing::warn!(revision = next.0, reason, "the stream holds something else at this revision");
        because("foreign", format!("the stream holds something else at revision {next}"))
    };
    let span = tracing::debug_span!(
        "process",
        otel.name = format!("process {}", message.subject),
        revision = next.0,
        traceparent = header(subjects::HEADER_TRACEPARENT).unwrap_or_default(),
    );
    span.in_scope(|| {
        let event = event::Event::decode(&message.payload).map_err(|e| foreign(e.to_string()))?;
        let id = header(subjects::HEADER_ID).unwrap_or_default();
        let mut item = check::next(last, Some(id), &event).map_err(|e| foreign(e.to_string()))?;
        if trace::enabled() {
            item.traceparent = header(subjects::HEADER_TRACEPARENT).map(str::to_owned);
        }
        tracing::trace!("event from the stream");
        Ok(Some(item))
    })
}

/// True if the head is known to be ahead. The beacon says so; where it is silent, and `ask` allows, PostgreSQL is asked.
async fn head_ahead(sources: &Sources, last: Mark, ask: bool) -> Result<bool, Ended> {
    let beacon = (*sources.beacon.borrow()).filter(super::Beacon::is_fresh);
    if let Some(beacon) = beacon
        && beacon.epoch == last.epoch
    {
        return Ok(ahead(beacon.head, last));
    }
    // Silence, or a beacon of another epoch, which only the source of truth can confirm.
    if !ask {
        return Ok(false);
    }
    match tokio::time::timeout(PATIENCE, sources.truth.head()).await {
        Ok(Ok(head)) if head.epoch != last.epoch => Err(Ended::Stop(Stop::OtherEpoch)),
        Ok(Ok(head)) => Ok(ahead(head.revision, last)),
        // Without a head nothing is known to be missing.
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}

fn ahead(head: Revision, last: Mark) -> bool {
    metrics::gauge!(HEAD).set(head.0 as f64);
    head > last.revision
}

#[cfg(test)]
mod tests {
    use proto::Epoch;

    use super::*;

    fn at(revision: u64) -> Mark {
        Mark { epoch: Epoch(1), revision: Revision(revision), event_id: None }
    }

    #[test]
    fn a_stream_that_begins_too_late_is_a_gap() {
        assert!(check_reach(8, 20, at(7), &mut Seen::default()).is_ok());
        assert!(check_reach(9, 20, at(7), &mut Seen::default()).is_err());
        // Empty and created at the next revision.
        assert!(check_reach(8, 7, at(7), &mut Seen::default()).is_ok());
    }

    #[test]
    fn a_stream_that_is_behind_must_grow() {
        let mut seen = Seen::default();
        assert!(check_reach(1, 5, at(7), &mut seen).is_ok());
        assert!(check_reach(1, 5, at(7), &mut seen).is_err());
        assert!(check_reach(1, 6, at(7), &mut seen).is_ok());
    }
}
