//! Settings of command-service.

use std::time::Duration;

use service_kit::auth::{Scope, Tokens};
use service_kit::{Env, grpc, nats, postgres};

use crate::domain::FollowCap;
use crate::{committer, jobs, relay, store};

/// A step that accepts a request makes two changes, and an event holds 1,000.
const MAX_STEP_EDGES: usize = 500;

/// The older system's name of its tokens, kept for existing deployments.
const LEGACY_TOKENS: &str = "INTERNAL_GRAPH_WRITE_TOKEN";
/// The older system's name of its port, kept for existing deployments.
const LEGACY_PORT: &str = "SERVER_GRPC_PORT";

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// PostgreSQL.
    pub database: postgres::Settings,
    /// NATS.
    pub nats: nats::Settings,
    /// The gRPC port.
    pub grpc: grpc::Settings,
    /// Tokens of callers, by scope.
    pub tokens: Tokens,
    /// Tokens that may write through the older system's API, in addition.
    pub legacy_tokens: Tokens,
    /// How long a write through the older system's API waits for the stream.
    pub legacy_stream_timeout: Duration,
    /// The committer.
    pub committer: committer::Settings,
    /// Writes of one actor per second; 0 for no limit.
    pub actor_writes: u32,
    /// Jobs.
    pub jobs: jobs::Settings,
    /// Maximum number of waiting commands.
    pub queue_capacity: u32,
    /// The stream.
    pub stream: relay::Settings,
    /// Lag of a read model above which imports and jobs are throttled.
    pub import_max_lag: Duration,
}

impl Config {
    /// Reads all settings from the environment.
    pub fn read(env: &mut Env) -> Self {
        let import_max_lag = env
            .about("Imports and jobs are throttled, but never stopped, while a live read model lags by more than this.")
            .seconds_or("IMPORT_MAX_LAG_SECONDS", 60);
        let listen = default_listen(env);
        Self {
            database: database(env),
            nats: nats::Settings::read(env),
            grpc: grpc::Settings::read(env, &listen),
            tokens: Tokens::read(env),
            legacy_tokens: Tokens::read_secrets(
                env.about(
                    "Tokens for writes through nova.graph_service.v2, sent as x-internal-token. Comma-separated: \
                     several tokens allow rotation.",
                )
                .example("a-long-random-text,another-one"),
                LEGACY_TOKENS,
                Scope::Write,
            ),
            legacy_stream_timeout: env
                .about(
                    "Maximum time that a write through nova.graph_service.v2 waits for the stream to acknowledge its \
                     event. After this timeout the call returns normally.",
                )
                .formerly("LEGACY_STREAM_PATIENCE_MILLIS", "0.2.0")
                .millis_or("LEGACY_STREAM_TIMEOUT_MILLIS", 2_000),
            committer: committer::Settings {
                timeout: env
                    .about(
                        "How long a command is retried while PostgreSQL is down. After that it fails with NOT_COMMITTED, \
                         or with OUTCOME_UNKNOWN if the reply to its COMMIT was lost.",
                    )
                    .formerly("COMMIT_PATIENCE_MILLIS", "0.2.0")
                    .millis_or("COMMIT_RETRY_TIMEOUT_MILLIS", 5_000),
                max_batch: env
                    .about("Maximum number of commands in one transaction.")
                    .number_or("COMMIT_MAX_BATCH", 500, 1..=100_000),
                follow_cap: FollowCap {
                    base: env
                        .about("How many accounts one account may follow, including pending requests.")
                        .parse_or("FOLLOW_CAP", "7500"),
                    per_follower: env
                        .about(
                            "An account may follow this many accounts for each of its followers, if that is more than \
                             FOLLOW_CAP.",
                        )
                        .number_or("FOLLOW_CAP_PER_FOLLOWER", 1.0, 0.0..=1_000.0),
                },
            },
            actor_writes: env
                .about("Maximum writes of one actor per second and process; more fail with RATE_LIMITED. 0: no limit.")
                .number_or("ACTOR_WRITES_PER_SECOND", 0, 0..=10_000_000),
            jobs: jobs::Settings {
                step_edges: env
                    .about("Maximum number of edges in one step of a job.")
                    .number_or("JOB_STEP_EDGES", 100, 1..=MAX_STEP_EDGES),
                pause_factor: env
                    .about("Pause after each step of a job, as a multiple of the step's own duration.")
                    .formerly("JOB_REST", "0.2.0")
                    .number_or("JOB_STEP_PAUSE_RATIO", 5.0, 0.0..=1_000.0),
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
                    "Maximum number of commands that wait for their transaction; more fail with OVERLOADED. While one \
                     caller is refused, no other caller gets more than half of the queue.",
                )
                .number_or("COMMAND_QUEUE_CAPACITY", 10_000, 1..=10_000_000),
            stream: relay::Settings::read(env),
            import_max_lag,
        }
    }
}

/// The connections to PostgreSQL. PostgreSQL's timeouts must be below those after which this process gives up.
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

/// The default of GRPC_LISTEN.
fn default_listen(env: &mut Env) -> String {
    let port = env
        .about("The older system's name of the gRPC port, on all addresses. GRPC_LISTEN overrides it.")
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
    fn server_timeouts_above_ours_are_rejected() {
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
    fn the_older_name_of_the_port_is_the_default_of_the_newer() {
        assert_eq!(listen(&[]), "[::]:9080");
        assert_eq!(listen(&[("SERVER_GRPC_PORT", "9091")]), "[::]:9091");
        assert_eq!(
            listen(&[("SERVER_GRPC_PORT", "9091"), ("GRPC_LISTEN", "127.0.0.1:9092")]),
            "127.0.0.1:9092"
        );
    }
}
