//! Follows the event log and fills the ring.
//!
//! The ring is contiguous or empty. If the history is interrupted (another epoch, events pruned before they were read,
//! an unreadable event), the ring is cleared and restarts at the head.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventSource, LogPosition, LoggedEvent, Stop};
use parking_lot::{RwLock, RwLockReadGuard};
use proto::{Revision, Token};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Limits, Ring, Sources};
use crate::metrics::{FEED_RESTARTS, RING_BYTES, RING_EVENTS, RING_REVISION, RING_SPAN};

/// Number of events before the head that are read at the start, so that answers of a slightly lagging read model can be
/// corrected at once.
const LOOK_BACK: u64 = 1_000;
/// Interval between checks for a head at which to start.
const LOOK: Duration = Duration::from_millis(50);
/// Pause before the ring restarts.
const PAUSE: Duration = Duration::from_millis(500);
/// Interval at which the gauges are set.
const GAUGES: Duration = Duration::from_secs(1);

/// The recent events that this process has read. Shared by the follower and the readers.
#[derive(Debug)]
pub struct Recent {
    ring: RwLock<Ring>,
    position: watch::Sender<Option<Token>>,
}

impl Recent {
    pub fn new(limits: Limits) -> Self {
        Self { ring: RwLock::new(Ring::new(limits)), position: watch::channel(None).0 }
    }

    /// Locks the ring. Hold it briefly: new events wait meanwhile.
    pub fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read()
    }

    /// The newest revision.
    pub fn position(&self) -> Option<Token> {
        *self.position.borrow()
    }

    /// Subscribes to the position.
    pub fn subscribe(&self) -> watch::Receiver<Option<Token>> {
        self.position.subscribe()
    }

    /// Waits until the position has reached a token; false at `until`.
    pub async fn reach(&self, token: Token, until: Instant) -> bool {
        let reached = |position: &Option<Token>| position.is_some_and(|position| position >= token);
        if reached(&self.position.borrow()) {
            return true;
        }
        let mut follow = self.position.subscribe();
        // The sender lives as long as `self`.
        tokio::time::timeout_at(until, follow.wait_for(reached)).await.is_ok()
    }

    /// Clears the ring and restarts after this position.
    pub fn begin(&self, at: Token) {
        self.ring.write().begin(at);
        self.position.send_replace(Some(at));
    }

    /// Appends the next event; false if it is not the next one.
    pub fn push(&self, logged: &LoggedEvent) -> bool {
        let position = {
            let mut ring = self.ring.write();
            if ring.push(logged).is_err() {
                return false;
            }
            ring.position()
        };
        self.position.send_replace(position);
        true
    }

    fn forget(&self) {
        self.ring.write().forget();
        self.position.send_replace(None);
    }
}

/// Fills the ring.
#[derive(Debug)]
pub struct Follower {
    pub sources: Sources,
    pub recent: Arc<Recent>,
}

impl Follower {
    /// Follows until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            never = self.follow() => match never {},
            () = self.set_gauges() => {}
        }
    }

    async fn follow(&self) -> std::convert::Infallible {
        loop {
            let begin = self.find_begin().await;
            tracing::info!(epoch = begin.epoch.0, revision = begin.revision.0, "following the events");
            self.recent.begin(begin);
            let position = LogPosition::unverified(begin);
            let why = self.fill(EventSource::after(position, self.sources.log.clone())).await;
            self.recent.forget();
            if matches!(why, Stop::Contradicted(_)) {
                self.take_back_head().await;
            }
            metrics::counter!(FEED_RESTARTS, "cause" => stop_name(&why)).increment(1);
            tracing::warn!(error = &why as &dyn std::error::Error, "reloading the recent events");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// PostgreSQL has lost commits that were read here. Without a new head it would count as lagging until it has
    /// passed them.
    async fn take_back_head(&self) {
        match self.sources.log.outbox.head().await {
            Ok(head) => self.sources.heads.went_back(head.token(), Instant::now()),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "cannot read the head");
            }
        }
    }

    async fn fill(&self, mut source: EventSource) -> Stop {
        loop {
            match source.next().await {
                Ok(logged) => {
                    let at = Token::new(logged.event.epoch, logged.event.revision);
                    self.sources.heads.observe_event(at, Instant::now());
                    if !self.recent.push(&logged) {
                        // Cannot happen: the source has verified it.
                        return Stop::Contradicted(at.revision);
                    }
                }
                Err(stop) => return stop,
            }
        }
    }

    /// A little before the head, as far as the stream reaches back. Waits until a head is known.
    async fn find_begin(&self) -> Token {
        loop {
            if let Some(head) = self.sources.heads.head() {
                let reach = self.sources.log.stream_reach(head.epoch).await;
                let revision = reach.map_or(head.revision, |reach| begin(head.revision, reach));
                return Token::new(head.epoch, revision);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn set_gauges(&self) {
        loop {
            let (position, events, bytes, span) = {
                let ring = self.recent.ring();
                (ring.position(), ring.events(), ring.bytes(), ring.span())
            };
            // Gauges need no more than the 53 bits of an f64.
            metrics::gauge!(RING_REVISION).set(position.map_or(0, |at| at.revision.0) as f64);
            metrics::gauge!(RING_EVENTS).set(events as f64);
            metrics::gauge!(RING_BYTES).set(bytes as f64);
            metrics::gauge!(RING_SPAN).set(span.as_secs_f64());
            tokio::time::sleep(GAUGES).await;
        }
    }
}

/// Start position, given the head and the first and last revision of the stream.
fn begin(head: Revision, (first, last): (Revision, Revision)) -> Revision {
    let newest = head.max(last);
    let oldest = first.0.saturating_sub(1);
    // Both bounds apply: not before the stream's first event, and not after the head.
    Revision(newest.0.saturating_sub(LOOK_BACK).max(oldest).min(newest.0))
}

/// The cause of a stop, as a label of metrics.
pub fn stop_name(stop: &Stop) -> &'static str {
    match stop {
        Stop::Pruned(_) => "pruned",
        Stop::Contradicted(_) => "contradicted",
        Stop::OtherEpoch => "epoch",
        Stop::Unreadable { .. } => "unreadable",
        Stop::Died => "died",
    }
}

#[cfg(test)]
mod tests {
    use proto::Epoch;

    use super::*;

    fn token(epoch: u64, revision: u64) -> Token {
        Token::new(Epoch(epoch), Revision(revision))
    }

    fn recent() -> Recent {
        Recent::new(Limits { events: 10, bytes: usize::MAX })
    }

    #[test]
    fn it_begins_a_little_before_the_head_and_within_the_stream() {
        let begin = |head, first, last| begin(Revision(head), (Revision(first), Revision(last))).0;
        assert_eq!(begin(5_000, 1, 5_000), 4_000);
        assert_eq!(begin(5_000, 1, 4_990), 4_000);
        assert_eq!(begin(5_000, 1, 5_100), 4_100);
        assert_eq!(begin(5_000, 4_500, 5_000), 4_499);
        assert_eq!(begin(30, 1, 30), 0);
        assert_eq!(begin(0, 1, 0), 0);
        // A stream that was just created at the next revision, and is empty.
        assert_eq!(begin(30, 31, 30), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_is_woken_by_the_position_and_gives_up_in_time() {
        let recent = Arc::new(recent());
        let until = Instant::now() + Duration::from_secs(1);
        let waiter = tokio::spawn({
            let recent = Arc::clone(&recent);
            async move { recent.reach(token(1, 7), until).await }
        });
        tokio::task::yield_now().await;
        recent.begin(token(1, 6));
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        recent.begin(token(1, 7));
        assert!(waiter.await.expect("no panic"));
        assert!(!recent.reach(token(1, 8), until).await);
        assert_eq!(Instant::now(), until);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_that_forgot_has_no_position() {
        let recent = recent();
        recent.begin(token(1, 7));
        recent.forget();
        assert_eq!(recent.position(), None);
        assert!(!recent.reach(token(1, 1), Instant::now()).await);
    }
}
