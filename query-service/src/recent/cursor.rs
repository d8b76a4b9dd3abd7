//! Reads the wanted events after a revision in order, for a watch: from the recent events, and older ones from a
//! separate source until the ring reaches back far enough.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use event_log::{EventSource, LogPosition, LoggedEvent, Stop};
use futures::future::BoxFuture;
use proto::{Revision, Token};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::{ExcerptLimits, Filter, Recent, Sources};

/// What is read under one lock, for which new events and, behind them, all other reads wait. The cursor keeps the wanted
/// events in memory even if the ring drops them.
const EXCERPT: ExcerptLimits = ExcerptLimits { events: 256, changes: 4_096, bytes: 1024 * 1024 };
/// Maximum number of cursors that read older events concurrently. Each holds some of its events in memory, and an event
/// of an import may have 200 kB.
pub const PAST_READERS: usize = 8;
/// Time for which a cursor reads older events before a waiting one takes its turn.
const READER_TIME: Duration = Duration::from_secs(10);

/// Reads events that are no longer in the ring.
struct Past {
    source: EventSource,
    until: Instant,
    _permit: OwnedSemaphorePermit,
}

/// A pending read of an older event; it may still wait for its turn, or for a page of the outbox.
type Reading = BoxFuture<'static, (Past, Result<LoggedEvent, Stop>)>;

pub struct EventCursor {
    recent: Arc<Recent>,
    sources: Sources,
    filter: Filter,
    follow: watch::Receiver<Option<Token>>,
    /// All events up to here were returned, are buffered, or were not wanted.
    read: Token,
    waiting: VecDeque<(Revision, Arc<[u8]>)>,
    /// True if the next event is no longer in the ring.
    is_behind: bool,
    /// The reader of older events, while this cursor has a turn.
    past: Option<Past>,
    /// A pending read of an older event. It survives cancelled calls, so that a heartbeat that is due loses neither its
    /// place in the queue nor what was read.
    reading: Option<Reading>,
    readers: Arc<Semaphore>,
}

impl EventCursor {
    /// Reads the events after a token; all cursors share `readers`, see [`PAST_READERS`].
    pub fn after(
        after: Token,
        filter: Filter,
        recent: Arc<Recent>,
        sources: Sources,
        readers: Arc<Semaphore>,
    ) -> Self {
        let follow = recent.subscribe();
        Self {
            recent,
            sources,
            filter: filter.sorted(),
            follow,
            read: after,
            waiting: VecDeque::new(),
            is_behind: false,
            past: None,
            reading: None,
            readers,
        }
    }

    /// All events up to here were returned or were not wanted.
    pub fn done(&self) -> Token {
        match self.waiting.front() {
            Some((next, _)) => Token::new(self.read.epoch, Revision(next.0 - 1)),
            None => self.read,
        }
    }

    /// True while events come from memory.
    pub fn is_live(&self) -> bool {
        !self.is_behind
    }

    /// Waits until the ring no longer holds the event after `taken`. Does not apply to older events, which were never
    /// in the ring.
    pub fn passed_by<F: Fn() -> Revision>(&self, taken: F) -> impl Future<Output = ()> + use<F> {
        let (recent, is_live) = (Arc::clone(&self.recent), self.is_live());
        async move {
            if !is_live {
                return std::future::pending().await;
            }
            let mut follow = recent.subscribe();
            while recent.ring().floor().is_some_and(|floor| floor.revision <= taken()) {
                // The sender lives as long as `recent`.
                let _ = follow.changed().await;
            }
        }
    }

    /// Waits for the next wanted event. Cancel safe.
    pub async fn next(&mut self) -> Result<(Token, Arc<[u8]>), Stop> {
        loop {
            if let Some((revision, payload)) = self.waiting.pop_front() {
                return Ok((Token::new(self.read.epoch, revision), payload));
            }
            if self.recent.position().is_some_and(|position| self.is_past(position)) {
                return Err(Stop::OtherEpoch);
            }
            // Marked as seen before the read, so that a later change wakes this task.
            self.follow.mark_unchanged();
            let excerpt = self.recent.ring().excerpt(self.read, &self.filter, EXCERPT);
            match excerpt {
                Some(excerpt) => {
                    self.is_behind = false;
                    (self.past, self.reading) = (None, None);
                    if excerpt.upto > self.read.revision {
                        self.read.revision = excerpt.upto;
                        self.waiting.extend(excerpt.events);
                    } else {
                        self.changed().await;
                    }
                }
                // The ring is behind this cursor, or still empty.
                None if self.recent.position().is_none_or(|position| position < self.read) => {
                    self.changed().await;
                }
                None => self.read_past().await?,
            }
        }
    }

    /// Returns the next older event.
    async fn read_past(&mut self) -> Result<(), Stop> {
        self.is_behind = true;
        let reading = match &mut self.reading {
            Some(reading) => reading,
            none => none.insert(read(self.past.take(), self.read, self.sources.clone(), &self.readers)),
        };
        let (past, outcome) = reading.await;
        (self.past, self.reading) = (Some(past), None);
        let LoggedEvent { event, payload, .. } = outcome?;
        self.read = Token::new(event.epoch, event.revision);
        if self.filter.wants(event.verb, event.actor, event.edges.iter().map(|change| change.key.target)) {
            self.waiting.push_back((event.revision, payload));
        }
        Ok(())
    }

    /// True if the recent events are of another epoch, and that epoch is current.
    fn is_past(&self, position: Token) -> bool {
        let current = self.sources.heads.epoch().is_none_or(|epoch| epoch == position.epoch);
        position.epoch > self.read.epoch || (position.epoch < self.read.epoch && current)
    }

    async fn changed(&mut self) {
        // The sender lives as long as `recent`.
        let _ = self.follow.changed().await;
    }
}

/// Reads the event after a revision, once the cursor has a turn. A cursor whose turn is over goes to the end of the
/// queue.
fn read(past: Option<Past>, after: Token, sources: Sources, readers: &Arc<Semaphore>) -> Reading {
    let readers = Arc::clone(readers);
    Box::pin(async move {
        let mut past = match past.filter(|past| Instant::now() < past.until) {
            Some(past) => past,
            None => {
                let Ok(permit) = readers.acquire_owned().await else {
                    // The semaphore is never closed.
                    return std::future::pending().await;
                };
                let source = EventSource::after(LogPosition::unverified(after), sources.log);
                Past { source, until: Instant::now() + READER_TIME, _permit: permit }
            }
        };
        let outcome = past.source.next().await;
        (past, outcome)
    })
}

#[cfg(test)]
mod tests {
    use proto::Epoch;
    use tokio::net::TcpListener;

    use super::*;
    use crate::recent::Limits;

    fn token(revision: u64) -> Token {
        Token::new(Epoch(1), Revision(revision))
    }

    /// A cursor whose next event is an older one.
    fn behind(sources: Sources, readers: &Arc<Semaphore>) -> EventCursor {
        let recent = Arc::new(Recent::without_hot_set(Limits { events: 1, bytes: usize::MAX }));
        recent.begin(token(100));
        EventCursor::after(token(7), Filter::default(), recent, sources, Arc::clone(readers))
    }

    /// Waits for an event like a caller that must send a heartbeat soon.
    async fn wait_a_moment(cursor: &mut EventCursor) {
        let moment = Duration::from_millis(50);
        tokio::time::timeout(moment, cursor.next()).await.expect_err("there is no event");
    }

    #[tokio::test]
    async fn a_heartbeat_does_not_cost_the_place_in_the_queue() {
        let readers = Arc::new(Semaphore::new(1));
        let busy = Arc::clone(&readers).acquire_owned().await.expect("open");
        let mut cursor = behind(Sources::unreachable("127.0.0.1:1").await, &readers);
        wait_a_moment(&mut cursor).await;
        assert!(!cursor.is_live());
        drop(busy);
        assert_eq!(readers.available_permits(), 0, "it is the turn of who came first");
        cursor.recent.begin(token(7));
        wait_a_moment(&mut cursor).await;
        assert!(cursor.is_live());
        assert_eq!(readers.available_permits(), 1, "who has no need of a turn gives it back");
    }

    #[tokio::test]
    async fn a_heartbeat_does_not_restart_the_page_of_the_outbox() {
        let postgres = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = postgres.local_addr().expect("an address").to_string();
        let mut cursor = behind(Sources::unreachable(&address).await, &Arc::new(Semaphore::new(1)));
        let mut connections = Vec::new();
        for _ in 0..4 {
            wait_a_moment(&mut cursor).await;
            // Accepts connections and never answers.
            let moment = Duration::from_millis(10);
            while let Ok(taken) = tokio::time::timeout(moment, postgres.accept()).await {
                connections.push(taken.expect("a connection"));
            }
        }
        assert_eq!(connections.len(), 1, "it waits for the answer to its request");
    }
}
