//! The JetStream stream: how it is made and what it promises.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use futures::TryStreamExt as _;
use proto::{Epoch, Revision, subjects};
use service_kit::Env;
use service_kit::telemetry::chain;

use super::Error;

/// How the stream is kept.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long an event stays.
    pub max_age: Duration,
    /// How many servers of a cluster keep it.
    pub replicas: usize,
}

impl Settings {
    /// Reads them.
    pub fn read(env: &mut Env) -> Self {
        Self {
            max_age: env
                .about("How long events stay in the stream and in the outbox.")
                .seconds_or("STREAM_MAX_AGE_SECONDS", 7 * 24 * 3600),
            replicas: env.about("How many servers of a NATS cluster keep the stream: 1, 3 or 5.").number_or(
                "STREAM_REPLICAS",
                1,
                1..=5,
            ),
        }
    }

    fn config(&self, epoch: Epoch, first: Revision) -> stream::Config {
        stream::Config {
            name: subjects::stream_name(epoch),
            description: Some(
                "Every change of the follow graph. The sequence number is the revision; only the relay publishes here."
                    .to_owned(),
            ),
            subjects: vec![subjects::EVENTS_WILDCARD.to_owned()],
            metadata: HashMap::from([
                ("followgraph.payload".to_owned(), "protobuf followgraph.event.v1.Event".to_owned()),
                ("followgraph.epoch".to_owned(), epoch.to_string()),
            ]),
            retention: stream::RetentionPolicy::Limits,
            discard: stream::DiscardPolicy::Old,
            storage: stream::StorageType::File,
            max_age: self.max_age,
            num_replicas: self.replicas,
            // A deleted or purged message would leave a hole in the revisions.
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            first_sequence: Some(first.0),
            ..Default::default()
        }
    }
}

/// Makes the stream so that its next sequence number is `first`. The stream of an
/// earlier epoch goes: its history was given up, and two streams cannot share the
/// subjects.
pub async fn create(
    jetstream: &jetstream::Context,
    settings: &Settings,
    epoch: Epoch,
    first: Revision,
) -> Result<(), Error> {
    let mut names = jetstream.stream_names();
    while let Some(name) = names.try_next().await.map_err(nats)? {
        if subjects::stream_epoch(&name).is_some_and(|earlier| earlier < epoch) {
            tracing::warn!(stream = name, %epoch, "deleting the stream of an earlier epoch");
            jetstream.delete_stream(&name).await.map_err(nats)?;
        }
    }
    jetstream.create_stream(settings.config(epoch, first)).await.map_err(nats)?;
    tracing::info!(stream = subjects::stream_name(epoch), first = first.0, "made the stream");
    Ok(())
}

/// Brings a stream that is there to the settings. They count for little beside the events: a failure is told, and the
/// relay goes on.
pub async fn update(jetstream: &jetstream::Context, settings: &Settings, epoch: Epoch) {
    let changed = async {
        let stream = jetstream.get_stream(subjects::stream_name(epoch)).await.map_err(nats)?;
        let mut config = stream.cached_info().config.clone();
        if config.max_age == settings.max_age && config.num_replicas == settings.replicas {
            return Ok(false);
        }
        (config.max_age, config.num_replicas) = (settings.max_age, settings.replicas);
        jetstream.update_stream(config).await.map_err(nats)?;
        Ok::<_, Error>(true)
    };
    match changed.await {
        Ok(false) => {}
        Ok(true) => tracing::info!(?settings, "the stream has new settings"),
        Err(error) => {
            tracing::warn!(error = %chain(&error), ?settings, "the stream does not take its settings")
        }
    }
}

/// Deletes the stream. That it is gone already is fine.
pub async fn delete(jetstream: &jetstream::Context, epoch: Epoch) -> Result<(), Error> {
    match jetstream.delete_stream(subjects::stream_name(epoch)).await {
        Ok(_) => Ok(()),
        Err(error) if is_missing(&error.to_string()) => Ok(()),
        Err(error) => Err(nats(error)),
    }
}

fn is_missing(text: &str) -> bool {
    text.contains("10059")
}

/// A failure to reach the server.
pub fn nats(error: impl std::fmt::Display) -> Error {
    Error::Nats(error.to_string())
}
