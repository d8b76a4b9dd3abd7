//! Events after a position, in order: from the stream or, where that fails, from the outbox.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proto::Revision;
use proto::event::DecodeError;
use service_kit::backoff::Backoff;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::event::{LoggedEvent, Stop};
use crate::outbox::Row;
use crate::position::{LogPosition, ReadEvents};
use crate::reach::Trouble;
use crate::sources::{SourceState, Sources};
use crate::stream::{Consumer, Ended};
use crate::verify::{self, Mismatch};

/// How often the outbox is read while the stream fails.
const POLL: Duration = Duration::from_millis(100);
/// Back-off between attempts to read the stream, and the outbox.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A PostgreSQL server that is behind the events for longer has lost commits; until then it may be a standby that lags.
const LONGEST_LAG: Duration = Duration::from_secs(120);

/// An event, and its share of the buffer.
type Waiting = (Result<LoggedEvent, Stop>, Option<OwnedSemaphorePermit>);

/// Events after a position, in order. Dropping it ends the reading.
#[derive(Debug)]
pub struct EventSource {
    receiver: mpsc::UnboundedReceiver<Waiting>,
    _task: AbortOnDropHandle<()>,
}

impl EventSource {
    /// Reads the events after `last`.
    pub fn after(last: LogPosition, sources: Sources) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(fill(Reader::after(last, sources), sender));
        Self { receiver, _task: AbortOnDropHandle::new(task) }
    }

    /// Waits for the next event. Nothing is lost if the caller stops waiting.
    pub async fn next(&mut self) -> Result<LoggedEvent, Stop> {
        self.receiver.recv().await.map_or(Err(Stop::Died), |(outcome, _)| outcome)
    }

    /// The next event, if one is waiting.
    pub fn try_next(&mut self) -> Option<Result<LoggedEvent, Stop>> {
        self.receiver.try_recv().ok().map(|(outcome, _)| outcome)
    }
}

/// Reads ahead of the consumer until the buffer is full.
async fn fill(mut reader: Reader, sender: mpsc::UnboundedSender<Waiting>) {
    let size = reader.sources.buffer_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let buffer = Arc::new(Semaphore::new(size));
    loop {
        match reader.next().await {
            Ok(event) => {
                // Within u32: the size of the buffer is.
                let cost = u32::try_from(event.payload.len().clamp(1, size)).unwrap_or(u32::MAX);
                let Ok(share) = Arc::clone(&buffer).acquire_many_owned(cost).await else { return };
                if sender.send((Ok(event), Some(share))).is_err() {
                    return;
                }
            }
            Err(stop) => {
                let _ = sender.send((Err(stop), None));
                return;
            }
        }
    }
}

struct Reader {
    sources: Sources,
    last: LogPosition,
    read: ReadEvents,
    consumer: Option<Consumer>,
    /// End of the stream when it was last opened: distinguishes a slow relay from a dead one.
    seen: Option<u64>,
    /// Read from the outbox, and not given out yet.
    rows: VecDeque<Row>,
    next_attempt: Instant,
    stream_pause: Backoff,
    outbox_pause: Backoff,
    /// The cause that was logged last.
    logged: &'static str,
    /// Since when PostgreSQL is behind the last event.
    behind_since: Option<Instant>,
}

impl Reader {
    fn after(last: LogPosition, sources: Sources) -> Self {
        Self {
            sources,
            last,
            read: ReadEvents::default(),
            consumer: None,
            seen: None,
            rows: VecDeque::new(),
            next_attempt: Instant::now(),
            stream_pause: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
            outbox_pause: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
            logged: "",
            behind_since: None,
        }
    }

    async fn next(&mut self) -> Result<LoggedEvent, Stop> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                let event = self.verified(row)?;
                self.sources.monitor.outbox_event();
                return Ok(self.took(event));
            }
            if let Some(consumer) = &mut self.consumer {
                match consumer.next(&self.last, &self.read).await {
                    Ok(event) => {
                        self.stream_pause.reset();
                        (self.logged, self.behind_since) = ("", None);
                        return Ok(self.took(event));
                    }
                    Err(Ended::Stop(stop)) => return Err(stop),
                    Err(Ended::Trouble(trouble)) => self.give_up_stream(&trouble),
                }
            } else if Instant::now() >= self.next_attempt {
                match Consumer::after(&self.last, &self.sources, &mut self.seen).await {
                    Ok(consumer) => {
                        self.sources.monitor.state(SourceState::Stream);
                        self.consumer = Some(consumer);
                        continue;
                    }
                    Err(trouble) => self.give_up_stream(&trouble),
                }
            }
            let pause = self.read_outbox().await?;
            if self.rows.is_empty() {
                self.wait(pause).await;
            }
        }
    }

    fn took(&mut self, event: LoggedEvent) -> LoggedEvent {
        self.last = LogPosition::of(&event.event);
        self.read.add(self.last);
        event
    }

    fn give_up_stream(&mut self, trouble: &Trouble) {
        let (cause, reason) = (trouble.cause, trouble.reason.as_str());
        self.sources.monitor.stream_ended(cause);
        self.sources.monitor.state(SourceState::Outbox { reason });
        // A cause that repeats is logged once.
        if self.logged != cause {
            tracing::info!(cause, reason, revision = self.last.revision.0, "events come from the outbox");
            self.logged = cause;
        }
        self.consumer = None;
        self.next_attempt = Instant::now() + self.stream_pause.pause();
    }

    /// Reads a page of the outbox. Answers how long to wait if there is nothing new.
    async fn read_outbox(&mut self) -> Result<Duration, Stop> {
        let (head, rows) = match self.sources.outbox.page_after(self.last.token()).await {
            Ok(read) => read,
            Err(error) => {
                let reason = service_kit::telemetry::chain(&error);
                tracing::debug!(reason, "the outbox cannot be read");
                self.sources.monitor.state(SourceState::Unavailable { reason: &reason });
                return Ok(self.outbox_pause.pause());
            }
        };
        if self.read.contradict(&head) {
            return Err(Stop::Contradicted(head.revision));
        }
        match judge(&self.last, &head, rows.first().map(|row| row.revision))? {
            Page::Next => self.rows.extend(rows),
            Page::Nothing => {
                self.behind_since = None;
                self.sources.monitor.state(SourceState::CaughtUp);
            }
            Page::Behind => {
                let since = *self.behind_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= LONGEST_LAG {
                    let (last, head) = (self.last.revision, head.revision);
                    self.sources.monitor.state(SourceState::Lost { last, head });
                    return Ok(self.outbox_pause.pause());
                }
            }
        }
        self.outbox_pause.reset();
        Ok(POLL)
    }

    /// The outbox is the truth: a mismatch means that what was read before is wrong, or that this program is too old.
    fn verified(&self, row: Row) -> Result<LoggedEvent, Stop> {
        let unreadable = |source| Stop::Unreadable { revision: row.revision, source };
        let event = verify::next(&self.last, None, &row.payload).map_err(|mismatch| match mismatch {
            Mismatch::Unreadable(source) => unreadable(source),
            Mismatch::Chain => Stop::Contradicted(self.last.revision),
            Mismatch::OtherPlace(_) | Mismatch::Header => unreadable(DecodeError::Field("revision")),
        })?;
        let traceparent = row.traceparent.filter(|_| service_kit::trace::enabled());
        Ok(LoggedEvent { event, payload: row.payload.into(), traceparent })
    }

    /// Waits until the outbox or the stream is worth another attempt.
    async fn wait(&mut self, pause: Duration) {
        let mut connected = self.sources.nats.connected.clone();
        connected.mark_unchanged();
        let pause = pause.min(self.next_attempt.saturating_duration_since(Instant::now()));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Ok(()) = connected.changed() => {
                self.stream_pause.reset();
                self.next_attempt = Instant::now();
            }
        }
    }
}

/// What a page of the outbox means.
#[derive(Debug, PartialEq, Eq)]
enum Page {
    /// It begins with the next event.
    Next,
    /// There is nothing new.
    Nothing,
    /// The server has not reached the last event yet.
    Behind,
}

/// Compares the head of PostgreSQL, and the first row after `last`, with what was read.
fn judge(last: &LogPosition, head: &LogPosition, first: Option<Revision>) -> Result<Page, Stop> {
    if head.epoch != last.epoch {
        return Err(Stop::OtherEpoch);
    }
    if head.contradicts(last) {
        return Err(Stop::Contradicted(last.revision));
    }
    if head.revision < last.revision {
        return Ok(Page::Behind);
    }
    match first {
        None if head.revision == last.revision => Ok(Page::Nothing),
        Some(first) if first == last.revision.next() => Ok(Page::Next),
        // The next rows are gone, or there are none although the head says so.
        Some(_) | None => Err(Stop::Pruned(last.revision.next())),
    }
}

#[cfg(test)]
mod tests {
    use proto::Epoch;
    use uuid::Uuid;

    use super::*;

    fn at(epoch: u64, revision: u64, id: u128) -> LogPosition {
        LogPosition { epoch: Epoch(epoch), revision: Revision(revision), event_id: Some(Uuid::from_u128(id)) }
    }

    #[test]
    fn a_page_is_judged_by_the_head() {
        let last = at(1, 7, 1);
        assert_eq!(judge(&last, &at(1, 9, 9), Some(Revision(8))).unwrap(), Page::Next);
        assert_eq!(judge(&last, &at(1, 7, 1), None).unwrap(), Page::Nothing);
        assert!(matches!(judge(&last, &at(1, 9, 9), None), Err(Stop::Pruned(Revision(8)))));
        assert!(matches!(judge(&last, &at(1, 9, 9), Some(Revision(9))), Err(Stop::Pruned(Revision(8)))));
        assert!(matches!(judge(&last, &at(2, 7, 1), None), Err(Stop::OtherEpoch)));
    }

    #[test]
    fn a_server_that_lost_commits_is_known_before_it_has_passed_them() {
        let mut read = ReadEvents::default();
        (1..=1_000).for_each(|revision| read.add(at(1, revision, u128::from(revision))));
        assert!(read.contradict(&at(1, 990, 7)), "another event than the one that was read");
        assert!(!read.contradict(&at(1, 990, 990)), "it lags");
        assert!(!read.contradict(&at(1, 1_001, 7)), "nothing was read there");
        assert!(!read.contradict(&at(1, 400, 7)), "its id is not kept");
        assert!(!read.contradict(&at(2, 990, 7)), "another epoch");
    }

    #[test]
    fn a_lagging_server_is_no_contradiction() {
        let last = at(1, 7, 1);
        assert_eq!(judge(&last, &at(1, 6, 6), None).unwrap(), Page::Behind);
        assert!(matches!(judge(&last, &at(1, 7, 2), None), Err(Stop::Contradicted(Revision(7)))));
    }
}
