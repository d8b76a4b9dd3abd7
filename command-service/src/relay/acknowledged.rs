//! Waits until the stream holds a revision, whether or not this process leads the relay.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use proto::{Revision, Token, subjects};
use tokio::sync::{Mutex, watch};

use super::status::StreamStatus;

/// The leader knows of acknowledgements without a request. It asks only if that takes unusually long: under load they
/// arrive in groups.
const LEADERS_FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A commit is acknowledged within a few milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The newest known revision of the stream. Clones share it.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    status: watch::Receiver<StreamStatus>,
    jetstream: jetstream::Context,
    /// The last answer of the stream. Locked during a request, so that waiting calls share one request.
    found: Arc<Mutex<Option<Token>>>,
}

impl Acknowledged {
    /// Follows the relay of this process, and asks the stream if another process leads.
    pub fn new(status: watch::Receiver<StreamStatus>, client: async_nats::Client) -> Self {
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(Duration::from_secs(1));
        Self { status, jetstream, found: Arc::default() }
    }

    /// Waits until the stream holds this revision; returns false after `timeout`.
    pub async fn wait(&self, revision: Token, timeout: Duration) -> bool {
        let mut status = self.status.clone();
        let either = async {
            tokio::select! {
                // An error means that the relay has ended: the process stops.
                found = status.wait_for(|status| shows(status, revision)) => found.is_ok(),
                () = self.ask_until(revision) => true,
            }
        };
        tokio::time::timeout(timeout, either).await.unwrap_or(false)
    }

    async fn ask_until(&self, revision: Token) {
        let leads = self.status.borrow().leader;
        let mut pause = if leads { LEADERS_FIRST_PAUSE } else { FIRST_PAUSE };
        loop {
            tokio::time::sleep(pause).await;
            if self.ask(revision).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn ask(&self, revision: Token) -> bool {
        let mut found = self.found.lock().await;
        if found.is_some_and(|found| reaches(found, revision)) {
            return true;
        }
        match self.jetstream.get_stream(subjects::stream_name(revision.epoch)).await {
            Ok(stream) => {
                let last = Revision(stream.cached_info().state.last_sequence);
                *found = Some(Token::new(revision.epoch, last));
            }
            Err(error) => tracing::debug!(%error, "cannot read the last sequence of the stream"),
        }
        found.is_some_and(|found| reaches(found, revision))
    }
}

/// Revisions of different epochs are not comparable.
fn reaches(found: Token, revision: Token) -> bool {
    found.epoch == revision.epoch && found.revision >= revision.revision
}

fn shows(status: &StreamStatus, revision: Token) -> bool {
    let found = subjects::stream_epoch(&status.name).map(|epoch| Token::new(epoch, status.last));
    found.is_some_and(|found| reaches(found, revision))
}

#[cfg(test)]
mod tests {
    use proto::Epoch;

    use super::*;

    #[test]
    fn only_the_stream_of_the_same_epoch_counts() {
        let status = StreamStatus {
            name: subjects::stream_name(Epoch(1)),
            last: Revision(9),
            ..StreamStatus::default()
        };
        for (epoch, revision, expected) in [(1, 9, true), (1, 10, false), (2, 9, false), (2, 1, false)] {
            assert_eq!(shows(&status, Token::new(Epoch(epoch), Revision(revision))), expected);
        }
    }
}
