//! This service's settings.

use std::time::Duration;

use service_kit::auth::{Scope, Tokens};
use service_kit::{Env, grpc, nats, postgres};

use crate::domain::FollowCap;
use crate::{committer, jobs, relay, store};

/// Each request that a step accepts is two changes, and an event holds a thousand.
const MAX_STEP_EDGES: usize = 500;

/// The older system's name for its tokens, kept for its deployments.
const LEGACY_TOKENS: &str = "INTERNAL_GRAPH_WRITE_TOKEN";
/// The older system's name for its port, likewise.
const LEGACY_PORT: &str = "SERVER_GRPC_PORT";

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
    /// Who may write through the older system's API, beside those.
    pub legacy_tokens: Tokens,
    /// How long a write through that API waits for the stream.
    pub legacy_patience: Duration,
    /// The committer.
    pub committer: committer::Settings,
    /// How many writes one actor may make in a second; 0 for no limit.
    pub actor_writes: u32,
    /// Jobs.
    pub jobs: jobs::Settings,
    /// How many commands may wait.
    pub queue_capacity: u32,
    /// The stream.
    pub stream: relay::Settings,
    /// Imports and jobs slow down when read models are this far behind.
    pub import_max_lag: Duration,
}

impl Config {
    /// Reads them.
    pub fn read(env: &mut Env) -> Self {
        let import_max_lag = env
            .about("Imports and jobs slow down while a live read model is this far behind.")
            .seconds_or("IMPORT_MAX_LAG_SECONDS", 60);
        let listen = default_listen(env);
        Self {
            database: database(env),
            nats: nats::Settings::read(env),
            grpc: grpc::Settings::read(env, &listen),
            tokens: Tokens::read(env),
            legacy_tokens: Tokens::read_secrets(
                env.about(
                    "Tokens for writes through nova.graph_service.v2, sent as x-internal-token; comma-separated, \
                     several at a time allow rotation.",
                )
                .example("a-long-random-text,another-one"),
                LEGACY_TOKENS,
                Scope::Write,
            ),
            legacy_patience: env
                .about(
                    "How long a write through nova.graph_service.v2 waits for the stream before it is answered \
                     all the same.",
                )
                .millis_or("LEGACY_STREAM_PATIENCE_MILLIS", 2_000),
            committer: committer::Settings {
                patience: env
                    .about("How long a command is tried for while the database is away.")
                    .millis_or("COMMIT_PATIENCE_MILLIS", 5_000),
                max_batch: env
                    .about("The most commands in one transaction.")
                    .number_or("COMMIT_MAX_BATCH", 500, 1..=100_000),
                follow_cap: FollowCap {
                    base: env
                        .about("How many others an account may follow, pending requests counted in.")
                        .parse_or("FOLLOW_CAP", "7500"),
                    per_follower: env
                        .about("An account may follow this many for each of its own followers, where that is more than FOLLOW_CAP.")
                        .number_or("FOLLOW_CAP_PER_FOLLOWER", 1.0, 0.0..=1_000.0),
                },
            },
            actor_writes: env
                .about("How many writes one actor may make in a second, on each process; 0 for no limit.")
                .number_or("ACTOR_WRITES_PER_SECOND", 0, 0..=10_000_000),
            jobs: jobs::Settings {
                step_edges: env
                    .about("How many edges one step of a job deals with.")
                    .number_or("JOB_STEP_EDGES", 100, 1..=MAX_STEP_EDGES),
                rest: env
                    .about("Pause after each step of a job, as a multiple of the time that the step took.")
                    .number_or("JOB_REST", 5.0, 0.0..=1_000.0),
                attempts: env
                    .about(
                        "A job fails after this many failed steps in a row. The pauses between them double, from \
                         half a second to a minute.",
                    )
                    .number_or("JOB_ATTEMPTS", 10, 1..=1_000),
                max_lag: import_max_lag,
            },
            queue_capacity: env
                .about(
                    "How many commands may wait for their transaction; more are refused. While a caller is refused, \
                     others get no more than half each.",
                )
                .number_or("COMMAND_QUEUE_CAPACITY", 10_000, 1..=10_000_000),
            stream: relay::Settings::read(env),
            import_max_lag,
        }
    }
}

/// The connections to PostgreSQL. Its timeouts must end a statement before this process takes the server for gone.
fn database(env: &mut Env) -> postgres::Settings {
    let settings = postgres::Settings::read(env);
    let longest = store::LONGEST_SERVER_TIMEOUT;
    for (name, timeout) in [
        ("DATABASE_STATEMENT_TIMEOUT_MILLIS", settings.statement_timeout),
        ("DATABASE_LOCK_TIMEOUT_MILLIS", settings.lock_timeout),
    ] {
        if timeout > longest {
            env.reject(name, format!("must be at most {} in command-service", longest.as_millis()));
        }
    }
    settings
}

/// The address that GRPC_LISTEN replaces.
fn default_listen(env: &mut Env) -> String {
    let port = env
        .about("The older system's setting: the gRPC port, on all addresses. GRPC_LISTEN goes before it.")
        .example("9080")
        .optional_parsed::<u16>(LEGACY_PORT);
    format!("[::]:{}", port.unwrap_or(9_080))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(pairs: &[(&str, &str)]) -> String {
        let mut env = Env::from_pairs(pairs.iter().copied());
        Config::read(&mut env).grpc.listen.to_string()
    }

    #[test]
    fn timeouts_beyond_our_own_are_a_mistake() {
        let names = |millis: &str| {
            let mut env = Env::from_pairs([
                ("DATABASE_URL", "postgres://app:pw@127.0.0.1:1/main"),
                ("DATABASE_STATEMENT_TIMEOUT_MILLIS", millis),
                ("DATABASE_LOCK_TIMEOUT_MILLIS", millis),
            ]);
            let settings = database(&mut env);
            let mistakes = env.finish(settings).err().map(|error| error.mistakes).unwrap_or_default();
            mistakes.into_iter().map(|mistake| mistake.variable).collect::<Vec<_>>()
        };
        assert_eq!(names("12000"), Vec::<String>::new());
        let both = ["DATABASE_STATEMENT_TIMEOUT_MILLIS", "DATABASE_LOCK_TIMEOUT_MILLIS"];
        assert_eq!(names("12001"), both);
    }

    #[test]
    fn the_older_name_of_the_port_counts_where_the_newer_is_not_set() {
        assert_eq!(listen(&[]), "[::]:9080");
        assert_eq!(listen(&[("SERVER_GRPC_PORT", "9091")]), "[::]:9091");
        assert_eq!(
            listen(&[("SERVER_GRPC_PORT", "9091"), ("GRPC_LISTEN", "127.0.0.1:9092")]),
            "127.0.0.1:9092"
        );
    }
}
