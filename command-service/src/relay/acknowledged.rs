//! Waiting until the stream holds a revision.
//!
//! Owns: how a process finds that out, whether it leads the relay or not. It must
//! not know who wants to know.
//!
//! What can go wrong: NATS is away, or another history has begun; then the wait
//! ends with its patience.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use proto::{Revision, Token, subjects};
use tokio::sync::{Mutex, watch};

use super::Standing;

/// The leader is told of acknowledgements as they come, and asks only where that
/// takes unusually long: under load it hears of them in bunches.
const LEADERS_FIRST_PAUSE: Duration = Duration::from_millis(50);
/// From commit to acknowledgement it takes a few milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Knows what the stream holds. Clones share it.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    standing: watch::Receiver<Standing>,
    jetstream: jetstream::Context,
    /// What the stream was last found to hold. Locked while it is asked, so that many
    /// waiting calls ask one question together.
    found: Arc<Mutex<Option<Token>>>,
}

impl Acknowledged {
    /// Listens to the relay of this process, and asks the stream where that one does
    /// not lead.
    pub fn new(standing: watch::Receiver<Standing>, client: async_nats::Client) -> Self {
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(Duration::from_secs(1));
        Self { standing, jetstream, found: Arc::default() }
    }

    /// Waits until the stream holds this revision, at most so long; answers whether it does.
    pub async fn wait(&self, revision: Token, patience: Duration) -> bool {
        let mut standing = self.standing.clone();
        let either = async {
            tokio::select! {
                // An error means that the relay has ended: the process stops.
                told = standing.wait_for(|standing| tells_of(standing, revision)) => told.is_ok(),
                () = self.ask_until(revision) => true,
            }
        };
        tokio::time::timeout(patience, either).await.unwrap_or(false)
    }

    async fn ask_until(&self, revision: Token) {
        let leads = self.standing.borrow().leader;
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
            Err(error) => tracing::debug!(%error, "cannot ask the stream how far it is"),
        }
        found.is_some_and(|found| reaches(found, revision))
    }
}

/// Revisions of different histories cannot be compared.
fn reaches(found: Token, revision: Token) -> bool {
    found.epoch == revision.epoch && found.revision >= revision.revision
}

fn tells_of(standing: &Standing, revision: Token) -> bool {
    let found = subjects::stream_epoch(&standing.name).map(|epoch| Token::new(epoch, standing.last));
    found.is_some_and(|found| reaches(found, revision))
}

#[cfg(test)]
mod tests {
    use proto::Epoch;

    use super::*;

    #[test]
    fn only_the_stream_of_the_same_history_tells() {
        let standing =
            Standing { name: subjects::stream_name(Epoch(1)), last: Revision(9), ..Standing::default() };
        for (epoch, revision, told) in [(1, 9, true), (1, 10, false), (2, 9, false), (2, 1, false)] {
            assert_eq!(tells_of(&standing, Token::new(Epoch(epoch), Revision(revision))), told);
        }
    }
}
