//! Waits until this process has read all events of the stream.
//!
//! Concurrent callers share one look-up of the stream's end. If this process lags, the wait ends early.

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
    /// Start and result of the last look-up.
    last: Mutex<Option<(Instant, Token)>>,
}

impl StreamEnd {
    pub fn new(sources: Sources, recent: Arc<Recent>, timeout: Duration) -> Self {
        Self { sources, recent, timeout, last: Mutex::new(None) }
    }

    /// Waits until this process has read the whole stream and all revisions that are known to be committed, and returns
    /// that revision; `None` if it is unknown. If NATS is down, the head that PostgreSQL reported last counts. If the
    /// bounded wait was too short, PostgreSQL can still answer.
    pub async fn reached(&self, deadline: Instant) -> Option<Token> {
        let now = Instant::now();
        // Leave half of the time for the read itself.
        let timeout = self.timeout.min(deadline.saturating_duration_since(now) / 2);
        let until = now + timeout;
        let known = self.sources.heads.head();
        let held = if self.sources.log.nats.is_connected() {
            // A look-up without answer must leave time to wait for the known revision.
            tokio::time::timeout_at(now + timeout / 2, self.look_up(now)).await.ok().flatten()
        } else {
            None
        };
        let end = held.max(known)?;
        self.recent.reach(end, until).await;
        Some(end)
    }

    /// Callers share look-ups: a caller accepts a result whose look-up began after its own call.
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
