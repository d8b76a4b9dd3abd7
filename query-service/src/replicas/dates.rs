//! Looks up the commit time of revisions that a read model lacks and that this process did not observe when they were
//! committed.
//!
//! If neither the stream nor the outbox answers, staleness stays an estimate until a later look-up succeeds.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventSource, LogPosition, Stop};
use proto::Token;
use service_kit::clock::{SharedClock, corrected};
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Replica;
use crate::recent::{LONGEST_STALENESS, Sources};

/// Interval between checks for a missing date; short, so that a process that has just started has it soon.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause after a look-up.
const REST: Duration = Duration::from_secs(1);
/// Timeout of one look-up.
const EVENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Adds missing commit times to the head tracker.
#[derive(Debug)]
pub struct Dates {
    pub sources: Sources,
    pub replicas: Vec<Arc<Replica>>,
    pub clock: SharedClock,
}

impl Dates {
    /// Looks up until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        // One event is enough.
        (self.sources.log.batch, self.sources.log.buffer_bytes) = (1, 1);
        tokio::select! {
            () = stop.cancelled() => {}
            never = self.look() => match never {},
        }
    }

    async fn look(&self) -> std::convert::Infallible {
        loop {
            let mut looked_up = false;
            for visible in self.replicas.iter().filter_map(|replica| replica.visible()) {
                if self.sources.heads.lacks_age(visible, Instant::now()) {
                    self.look_up_after(visible).await;
                    looked_up = true;
                }
            }
            // A replica that catches up causes repeated look-ups, and each creates a consumer that lives for a while.
            // The estimates in between are too old rather than too fresh.
            tokio::time::sleep(if looked_up { REST } else { PAUSE }).await;
        }
    }

    async fn look_up_after(&self, visible: Token) {
        let missed = Token::new(visible.epoch, visible.revision.next());
        let mut source = EventSource::after(LogPosition::unverified(visible), self.sources.log.clone());
        let age = match tokio::time::timeout(EVENT_TIMEOUT, source.next()).await {
            Ok(Ok(logged)) => {
                let now = corrected(self.clock.now(), self.sources.heads.time(Instant::now()));
                age(logged.event.committed_at, now)
            }
            // Events are kept longer than that, by default for a week.
            Ok(Err(Stop::Pruned(_))) => LONGEST_STALENESS,
            Ok(Err(_)) | Err(_) => return,
        };
        self.sources.heads.observe_age(missed, age, Instant::now());
    }
}

/// Zero if the other clock is ahead.
fn age(committed_at: OffsetDateTime, now: OffsetDateTime) -> Duration {
    Duration::try_from(now - committed_at).unwrap_or_default()
}
