//! This service's settings.

use std::time::Duration;

use service_kit::auth::Tokens;
use service_kit::{Env, grpc, nats, postgres};

use crate::{committer, relay};

/// All of them.
#[derive(Clone, Debug)]
pub struct Config {
    /// PostgreSQL.
    pub database: postgres::Settings,
    /// NATS.
    pub nats: nats::Settings,
    /// The gRPC port.
    pub grpc: grpc::Settings,
    /// Who may call.
    pub tokens: Tokens,
    /// The committer.
    pub committer: committer::Settings,
    /// How many commands may wait.
    pub queue_capacity: usize,
    /// The stream.
    pub stream: relay::Settings,
    /// An import slows down when read models are this far behind.
    pub import_max_lag: Duration,
}

impl Config {
    /// Reads them.
    pub fn read(env: &mut Env) -> Self {
        Self {
            database: postgres::Settings::read(env),
            nats: nats::Settings::read(env),
            grpc: grpc::Settings::read(env, "0.0.0.0:9080"),
            tokens: Tokens::read(env),
            committer: committer::Settings {
                patience: env
                    .about("How long a command is tried for while the database is away.")
                    .millis_or("COMMIT_PATIENCE_MILLIS", 5_000),
                max_batch: env
                    .about("The most commands in one transaction.")
                    .parse_or("COMMIT_MAX_BATCH", "500"),
            },
            queue_capacity: env
                .about("How many commands may wait for their transaction; more are refused.")
                .parse_or("COMMAND_QUEUE_CAPACITY", "10000"),
            stream: relay::Settings::read(env),
            import_max_lag: env
                .about("An import slows down while a live read model is this far behind.")
                .seconds_or("IMPORT_MAX_LAG_SECONDS", 60),
        }
    }
}
