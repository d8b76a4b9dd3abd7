//! The beacon: what command-service says about the head, twice a second.
//!
//! Owns: listening on core NATS and remembering the newest word with its time. Must not know: what follows from it.
//! What can go wrong: nobody sends; then the word grows old, and whoever needs the head asks PostgreSQL.

use std::time::Duration;

use futures::StreamExt as _;
use prost::Message as _;
use proto::{Epoch, Revision, events, subjects};
use service_kit::nats::Nats;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// An older word says nothing about the present.
const FRESH: Duration = Duration::from_secs(2);

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beacon {
    /// The epoch of the head.
    pub epoch: Epoch,
    /// The newest committed revision.
    pub head: Revision,
    /// When it was heard.
    pub heard: Instant,
}

impl Beacon {
    /// True if it is young enough to be believed.
    pub fn is_fresh(&self) -> bool {
        self.heard.elapsed() < FRESH
    }
}

/// Listens until told to stop.
pub async fn listen(
    nats: Nats,
    newest: watch::Sender<Option<Beacon>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut messages = nats.client.subscribe(subjects::BEACON).await?;
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            message = messages.next() => message,
        };
        // The client renews subscriptions by itself; an end means that it was closed.
        let Some(message) = message else { anyhow::bail!("the NATS client was closed") };
        match events::v1::Beacon::decode(message.payload) {
            Ok(beacon) => newest.send_modify(|newest| *newest = Some(newer(*newest, &beacon))),
            Err(error) => tracing::debug!(%error, "a beacon does not decode"),
        }
    }
}

/// Several command-services send; their words may arrive in another order than they were written.
fn newer(before: Option<Beacon>, word: &events::v1::Beacon) -> Beacon {
    let heard = Beacon { epoch: Epoch(word.epoch), head: Revision(word.head), heard: Instant::now() };
    match before {
        Some(before) if before.epoch == heard.epoch && before.head > heard.head && before.is_fresh() => {
            Beacon { head: before.head, ..heard }
        }
        _ => heard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(epoch: u64, head: u64) -> events::v1::Beacon {
        events::v1::Beacon { epoch, head, sent_at: None }
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_goes_back_only_with_another_epoch_or_after_silence() {
        let first = newer(None, &word(1, 9));
        assert_eq!(newer(Some(first), &word(1, 8)).head, Revision(9));
        assert_eq!(newer(Some(first), &word(2, 8)).head, Revision(8));
        tokio::time::advance(FRESH).await;
        assert!(!first.is_fresh());
        assert_eq!(newer(Some(first), &word(1, 8)).head, Revision(8));
    }
}
