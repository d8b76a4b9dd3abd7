//! Follows the event log: fills the ring, applies the events to the hot set, and installs what was loaded for it.
//!
//! The ring is contiguous or empty. If the history is interrupted (another epoch, events pruned before they were read,
//! an unreadable event), the ring is cleared and restarts at the head.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventSource, LogPosition, Stop};
use proto::{Revision, Token};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Recent, Sources, gauges};
use crate::hot::load::Load;
use crate::metrics::{FEED_RESTARTS, HOT_LOADS};

/// Number of events before the head that are read at the start, so that answers of a slightly lagging read model can be
/// corrected at once.
const LOOK_BACK: u64 = 1_000;
/// Interval between checks for a head at which to start.
const LOOK: Duration = Duration::from_millis(50);
/// Pause before the ring restarts.
const PAUSE: Duration = Duration::from_millis(500);

/// Fills the ring.
#[derive(Debug)]
pub struct Follower {
    pub sources: Sources,
    pub recent: Arc<Recent>,
    /// What was loaded for the hot set.
    pub loads: mpsc::Receiver<Load>,
}

impl Follower {
    /// Follows until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let recent = Arc::clone(&self.recent);
        tokio::select! {
            () = stop.cancelled() => {}
            never = self.follow() => match never {},
            () = gauges::set(&recent) => {}
        }
    }

    async fn follow(&mut self) -> std::convert::Infallible {
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

    async fn fill(&mut self, mut source: EventSource) -> Stop {
        loop {
            // In turns: neither a stream of events nor one of loads keeps the other waiting.
            let next = tokio::select! {
                next = source.next() => next,
                Some(load) = self.loads.recv() => {
                    let outcome = self.recent.install(load).name();
                    metrics::counter!(HOT_LOADS, "outcome" => outcome).increment(1);
                    continue;
                }
            };
            match next {
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
    use super::*;

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
}
