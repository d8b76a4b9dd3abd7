//! Finds streams of other epochs that hold our subjects, and decides which of them may be deleted.

use std::time::Duration;

use async_nats::jetstream;
use futures::TryStreamExt as _;
use proto::{Epoch, subjects};
use tokio::time::Instant;

use super::error::Error;
use super::heartbeats::Heartbeats;
use crate::store::head::History;

/// An epoch without a heartbeat for this time is unused.
pub const UNUSED_AFTER: Duration = Duration::from_secs(30);

/// Streams of other epochs with our subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Others {
    /// Only streams that an operator gave up; they can be deleted.
    GivenUp(Vec<String>),
    /// A stream that was not given up, or whose epoch may be in use: which one, and what to do.
    Blocked(String),
}

/// Finds streams of other epochs in the NATS account.
pub async fn find(
    jetstream: &jetstream::Context,
    history: &History,
    heartbeats: &Heartbeats,
) -> Result<Others, Error> {
    let mut names: Vec<String> = jetstream.stream_names().try_collect().await.map_err(Error::nats)?;
    names.sort_unstable();
    let streams =
        names.into_iter().filter_map(|name| subjects::stream_epoch(&name).map(|epoch| (name, epoch)));
    let others = streams.filter(|(_, epoch)| *epoch != history.epoch).collect::<Vec<_>>();
    let now = Instant::now();
    Ok(judge(others, history, |epoch| heartbeats.silence(epoch, now)))
}

fn judge(others: Vec<(String, Epoch)>, history: &History, silence: impl Fn(Epoch) -> Duration) -> Others {
    for (name, epoch) in &others {
        if *epoch > history.epoch {
            return Others::Blocked(format!(
                "stream {name} of the later epoch {epoch} holds the subjects (10065): another database uses this NATS, or \
                 this one is an old copy"
            ));
        }
        if *epoch >= history.replace_streams_before {
            return Others::Blocked(format!(
                "stream {name} of epoch {epoch} holds the subjects (10065): if no database serves that epoch any more, \
                 run `followgraph recover --yes --keep-epoch --replace-stream`"
            ));
        }
    }
    let in_use = others.iter().find(|(_, epoch)| silence(*epoch) < UNUSED_AFTER);
    if let Some((name, epoch)) = in_use {
        return Others::Blocked(format!(
            "stream {name} is deleted after {} s without a heartbeat of epoch {epoch}",
            UNUSED_AFTER.as_secs()
        ));
    }
    Others::GivenUp(others.into_iter().map(|(name, _)| name).collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_unused_streams_that_were_given_up_are_deleted() {
        let history = |epoch, before| History {
            epoch: Epoch(epoch),
            database_id: Uuid::nil(),
            fork: None,
            replace_streams_before: Epoch(before),
        };
        let streams = |epochs: &[u64]| {
            epochs
                .iter()
                .map(|epoch| (subjects::stream_name(Epoch(*epoch)), Epoch(*epoch)))
                .collect::<Vec<_>>()
        };
        let judged =
            |epochs: &[u64], before, quiet: Duration| judge(streams(epochs), &history(50, before), |_| quiet);
        assert_eq!(judged(&[], 0, Duration::ZERO), Others::GivenUp(vec![]));
        assert!(matches!(judged(&[1], 0, UNUSED_AFTER), Others::Blocked(_)), "no consent");
        assert!(
            matches!(judged(&[1, 40], 40, UNUSED_AFTER), Others::Blocked(_)),
            "consent to an earlier one only"
        );
        assert!(matches!(judged(&[60], 50, UNUSED_AFTER), Others::Blocked(_)), "a later epoch");
        assert!(matches!(judged(&[1], 50, Duration::from_secs(29)), Others::Blocked(_)), "perhaps in use");
        let names = vec!["FOLLOWGRAPH".to_owned(), "FOLLOWGRAPH_40".to_owned()];
        assert_eq!(judged(&[1, 40], 50, UNUSED_AFTER), Others::GivenUp(names));
    }
}
