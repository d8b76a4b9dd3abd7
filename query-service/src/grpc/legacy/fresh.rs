//! Waits until this process has read what the stream holds.
//!
//! All who ask at the same time share one look-up of the stream's end. If this process lags, the wait ends early.

use std::sync::Arc;
use std::time::Duration;

use proto::Token;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::recent::{Recent, Sources};

/// The end of the stream.
#[derive(Debug)]
pub struct StreamEnd {
    sources: Sources,
    recent: Arc<Recent>,
    timeout: Duration,
    /// The last look-up: when it began, and what it found.
    last: Mutex<Option<(Instant, Token)>>,
}

impl StreamEnd {
    /// Looks there, and waits so long.
    pub fn new(sources: Sources, recent: Arc<Recent>, timeout: Duration) -> Self {
        Self { sources, recent, timeout, last: Mutex::new(None) }
    }

    /// Waits until this process has read all that the stream holds and all that is known to be committed, and returns
    /// how far that is; `None` if that is not known. If NATS is down, the head that PostgreSQL reported last counts. The
    /// wait is bounded; where it was too short, the source of truth can still answer.
    pub async fn reached(&self, deadline: Instant) -> Option<Token> {
        let now = Instant::now();
        // Half of the time is left for the read itself.
        let timeout = self.timeout.min(deadline.saturating_duration_since(now) / 2);
        let until = now + timeout;
        let known = self.sources.heads.head();
        let held = if self.sources.log.nats.is_connected() {
            // A server that does not answer leaves time to wait for what is known.
            tokio::time::timeout_at(now + timeout / 2, self.look_up(now)).await.ok().flatten()
        } else {
            None
        };
        let end = held.max(known)?;
        self.recent.reach(end, until).await;
        Some(end)
    }

    /// One look-up at a time: who waited for one that began later than it was asked takes that.
    async fn look_up(&self, asked: Instant) -> Option<Token> {
        let mut last = self.last.lock().await;
        if let Some((began, end)) = *last
            && began >= asked
        {
            return Some(end);
        }
        let began = Instant::now();
        let epoch = self.sources.heads.epoch()?;
        let (_, newest) = self.sources.log.stream_reach(epoch).await?;
        let end = Token::new(epoch, newest);
        *last = Some((began, end));
        Some(end)
    }
}
