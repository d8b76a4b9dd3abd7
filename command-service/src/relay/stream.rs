//! Creates, updates and deletes the JetStream stream.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, DeleteStreamErrorKind};
use async_nats::jetstream::{self, ErrorCode, stream};
use proto::{Revision, subjects};
use service_kit::Env;
use service_kit::telemetry::chain;
use uuid::Uuid;

use super::error::Error;
use crate::store::head::History;

/// Key in the stream's metadata: `log_lock.database_id` of its database.
const DATABASE_ID: &str = "followgraph.database_id";

/// Settings of the stream.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Age after which NATS drops an event.
    pub max_age: Duration,
    /// Number of copies in a NATS cluster.
    pub replicas: usize,
    /// Size limit in bytes; 0 for none.
    pub max_bytes: i64,
}

impl Settings {
    /// Reads `STREAM_MAX_AGE_SECONDS`, `STREAM_REPLICAS` and `STREAM_MAX_BYTES`.
    pub fn read(env: &mut Env) -> Self {
        Self {
            max_age: env
                .about("How long the stream and the outbox keep events.")
                .seconds_or("STREAM_MAX_AGE_SECONDS", 7 * 24 * 3600),
            replicas: env.about("Number of copies of the stream in a NATS cluster: 1, 3 or 5.").number_or(
                "STREAM_REPLICAS",
                1,
                1..=5,
            ),
            max_bytes: env
                .about(
                    "Size limit of the stream, in bytes. Above it, NATS drops the oldest events before their maximum \
                     age. 0: no limit; the limit of a stream that was made by hand stays. NATS accounts with \
                     max_bytes_required need a limit.",
                )
                .number_or("STREAM_MAX_BYTES", 0, 0..=i64::MAX),
        }
    }

    fn config(&self, history: &History, first: Revision) -> stream::Config {
        stream::Config {
            name: subjects::stream_name(history.epoch),
            description: Some(
                "Every change of the follow graph. The sequence number is the revision; only the relay publishes here."
                    .to_owned(),
            ),
            subjects: vec![subjects::EVENTS_WILDCARD.to_owned()],
            metadata: HashMap::from([
                ("followgraph.payload".to_owned(), "protobuf followgraph.event.v1.Event".to_owned()),
                ("followgraph.epoch".to_owned(), history.epoch.to_string()),
                (DATABASE_ID.to_owned(), history.database_id.to_string()),
            ]),
            retention: stream::RetentionPolicy::Limits,
            discard: stream::DiscardPolicy::Old,
            storage: stream::StorageType::File,
            max_age: self.max_age,
            num_replicas: self.replicas,
            max_bytes: self.max_bytes,
            // A deleted or purged message would leave a hole in the revisions.
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            first_sequence: Some(first.0),
            ..Default::default()
        }
    }
}

/// Returns the database that a stream belongs to; `None` for a stream of an older version.
pub fn database_id(config: &stream::Config) -> Option<Uuid> {
    config.metadata.get(DATABASE_ID)?.parse().ok()
}

/// Creates the stream with `first` as its next sequence number. Deletes the streams that were given up before: two
/// streams cannot share the subjects.
pub async fn create(
    jetstream: &jetstream::Context,
    settings: &Settings,
    history: &History,
    first: Revision,
    given_up: &[String],
) -> Result<(), Error> {
    for name in given_up {
        tracing::warn!(stream = name, epoch = %history.epoch, "deleting the stream of an earlier epoch");
        delete(jetstream, name).await?;
    }
    jetstream.create_stream(settings.config(history, first)).await.map_err(|error| match error.kind() {
        CreateStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP => {
            Error::Blocked(format!(
                "another stream of this NATS account holds the subjects {} (10065): find it with `nats stream ls`",
                subjects::EVENTS_WILDCARD
            ))
        }
        CreateStreamErrorKind::JetStream(e) if e.code() < FAILED_SERVER => Error::Blocked(advice(&e)),
        _ => Error::nats(error),
    })?;
    tracing::info!(stream = subjects::stream_name(history.epoch), first = first.0, "created the stream");
    Ok(())
}

/// JetStream uses the status codes of HTTP: from this one on, the server is at fault and a retry may succeed.
const FAILED_SERVER: usize = 500;

/// What an operator has to change if JetStream refuses to create the stream.
fn advice(error: &jetstream::Error) -> String {
    let advice = match error.error_code() {
        ErrorCode::STREAM_MAX_BYTES_REQUIRED => "set STREAM_MAX_BYTES to at most what the account has left",
        ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED => {
            "set STREAM_MAX_BYTES to what the account allows one stream"
        }
        ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::INSUFFICIENT_RESOURCES => {
            "lower STREAM_MAX_BYTES, or raise the limit of JetStream or the account"
        }
        ErrorCode::MAXIMUM_STREAMS_LIMIT => "the account needs room for one more stream",
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED | ErrorCode::CLUSTER_NO_PEERS => {
            "set STREAM_REPLICAS to at most the number of servers"
        }
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            "turn JetStream on for the server and the account"
        }
        _ => "change the settings of the stream or the limits of the account",
    };
    format!("NATS cannot create the stream: {error}: {advice}")
}

/// Applies the settings to an existing stream, and records its database. After a failure the relay continues:
/// publishing matters more.
pub async fn update(jetstream: &jetstream::Context, settings: &Settings, history: &History) {
    let changed = async {
        let stream = jetstream.get_stream(subjects::stream_name(history.epoch)).await.map_err(Error::nats)?;
        let mut config = stream.cached_info().config.clone();
        let ours = database_id(&config) == Some(history.database_id);
        let max_bytes = if settings.max_bytes == 0 { config.max_bytes } else { settings.max_bytes };
        let wanted = (settings.max_age, settings.replicas, max_bytes);
        if ours && (config.max_age, config.num_replicas, config.max_bytes) == wanted {
            return Ok(false);
        }
        config.metadata.insert(DATABASE_ID.to_owned(), history.database_id.to_string());
        (config.max_age, config.num_replicas, config.max_bytes) = wanted;
        jetstream.update_stream(config).await.map_err(Error::nats)?;
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

/// Deletes a stream. Succeeds if it does not exist.
pub async fn delete(jetstream: &jetstream::Context, name: &str) -> Result<(), Error> {
    let Err(error) = jetstream.delete_stream(name).await else { return Ok(()) };
    match error.kind() {
        DeleteStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(()),
        _ => Err(Error::nats(error)),
    }
}
