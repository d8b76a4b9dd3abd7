//! Settings of this service: their names, defaults and limits. All mistakes are reported together before a port opens.

mod access;
mod replicas;

use std::num::NonZeroU32;
use std::time::Duration;

use service_kit::{Env, Secret, grpc, nats, postgres};

pub use self::access::AccessSettings;
pub use self::replicas::ReplicaSettings;
use crate::grpc::LegacySettings;
use crate::page_token::MIN_KEY_BYTES;
use crate::recent::{LONGEST_STALENESS, Limits};
use crate::replicas::Tolerance;
use crate::router::ReadSource;

const PAGE_TOKEN_KEYS: &str = "PAGE_TOKEN_KEYS";

/// Settings of this service.
#[derive(Clone, Debug)]
pub struct Config {
    /// The gRPC port.
    pub grpc: grpc::Settings,
    /// `AUTH_TOKENS`, `ANONYMOUS_READS` and `LEGACY_READS`: who may read.
    pub access: AccessSettings,
    /// The source of truth.
    pub postgres: postgres::Settings,
    /// `NEO4J_URIS` or `NEO4J_URI`, and `PROJECTOR_NAMES` or `PROJECTOR_NAME`: the replicas of the read model.
    pub replicas: Vec<ReplicaSettings>,
    /// Core NATS, for signals.
    pub nats: nats::Settings,
    /// `PAGE_TOKEN_KEYS`: the first signs page tokens, all verify. Empty: a random one of this process.
    pub page_token_keys: Vec<Secret>,
    /// What PostgreSQL takes over.
    pub fallback: Fallback,
    /// `NEO4J_READ_TIMEOUT_MILLIS` (500): Neo4j is slow when a read takes longer.
    pub neo4j_read_timeout: Duration,
    /// `FRESHNESS_WAIT_MILLIS` (200, from 50 to 500): longest wait for Neo4j to reach a token.
    pub freshness_wait: Duration,
    /// `COALESCING_LANES` (4, at most 64): how many statements that questions share run at a time; 0: none are shared.
    pub coalescing_lanes: usize,
    /// `READ_SOURCE` (auto): which stores reads come from.
    pub read_source: ReadSource,
    /// `MAX_STALENESS_SECONDS` (60, at most 600): Neo4j is not asked when it misses something older that the recent events
    /// do not make up for.
    /// `REPLICA_MAX_LAG_SECONDS` (5): a replica that misses something older is asked only where no other can be.
    pub tolerance: Tolerance,
    /// `OVERLAY_EVENTS` (100000) and `OVERLAY_BYTES` (64 MiB): the recent events that are kept in memory.
    pub overlay: Limits,
    /// `WATCH_LIMIT` (100): watches at a time.
    pub watch_limit: usize,
    /// `LEGACY_DEFAULT_LIMIT` (50) and `LEGACY_FRESHNESS_WAIT_MILLIS` (500): the older API's reads.
    pub legacy: LegacySettings,
}

/// What PostgreSQL takes over when Neo4j cannot answer.
#[derive(Clone, Copy, Debug)]
pub struct Fallback {
    /// `FALLBACK_BUDGET_PER_SECOND` (2000): in cost units; a read costs one and one more for every fifty items.
    pub per_second: NonZeroU32,
    /// `FALLBACK_CONCURRENCY` (16): reads at a time, and connections.
    pub concurrency: u32,
}

impl Config {
    /// Reads them.
    pub fn read(env: &mut Env) -> Self {
        Self {
            grpc: grpc::Settings::read(env, "[::]:9081"),
            access: access::read(env),
            postgres: postgres::Settings::read(env),
            replicas: replicas::read(env),
            nats: nats::Settings::read(env),
            page_token_keys: page_token_keys(env),
            fallback: Fallback::read(env),
            neo4j_read_timeout: env
                .about("Neo4j is taken for slow when a read takes longer, and PostgreSQL is asked.")
                .millis_or("NEO4J_READ_TIMEOUT_MILLIS", 500),
            freshness_wait: freshness_wait(env),
            tolerance: tolerance(env),
            coalescing_lanes: env
                .about("How many statements that checks (and counts) share run at a time on each replica; with 0 each read has its own.")
                .number_or("COALESCING_LANES", 4, 0..=64),
            read_source: read_source(env),
            overlay: overlay(env),
            watch_limit: env.about("Most WatchEvents calls at a time.").number_or(
                "WATCH_LIMIT",
                100,
                1..=10_000,
            ),
            legacy: legacy(env),
        }
    }
}

impl Fallback {
    fn read(env: &mut Env) -> Self {
        let per_second = env
            .about("Reads per second that PostgreSQL takes over when Neo4j cannot answer; a read of many items counts one more for every fifty. Reads of more than 1,000 items take at most three quarters of it.")
            .number_or("FALLBACK_BUDGET_PER_SECOND", 2_000, 1..=10_000_000);
        let concurrency = env
            .about(
                "Reads at a time that PostgreSQL takes over; of those of more than 1,000 items, three quarters as many.",
            )
            .number_or("FALLBACK_CONCURRENCY", 16, 1..=1_000);
        // A zero was refused above.
        Self { per_second: NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN), concurrency }
    }
}

fn page_token_keys(env: &mut Env) -> Vec<Secret> {
    let text = env
        .about("Keys that sign page tokens: comma-separated, at least 16 bytes each. The first signs, all verify. Give all replicas the same; unset, tokens are good in one process only.")
        .example("a-long-random-text,the-one-before")
        .optional_secret(PAGE_TOKEN_KEYS);
    let Some(text) = text else { return Vec::new() };
    let keys: Vec<Secret> = text.expose().split(',').map(|key| Secret::new(key.trim())).collect();
    if keys.iter().any(|key| key.expose().len() < MIN_KEY_BYTES) {
        env.reject(PAGE_TOKEN_KEYS, format!("a key is shorter than {MIN_KEY_BYTES} bytes"));
    }
    keys
}

fn freshness_wait(env: &mut Env) -> Duration {
    let millis = env
        .about(
            "Longest wait for Neo4j to reach the revision that a read asks for, before PostgreSQL is asked.",
        )
        .number_or("FRESHNESS_WAIT_MILLIS", 200, 50..=500);
    Duration::from_millis(millis)
}

fn legacy(env: &mut Env) -> LegacySettings {
    LegacySettings {
        default_limit: env
            .about("Ids of a list of the older API whose limit is 0. The oldest of its clients expect 1000.")
            .number_or("LEGACY_DEFAULT_LIMIT", 50, 1..=1_000),
        freshness_wait: env
            .about(
                "Longest wait of a read of the older API for what the stream held when it was asked. Then \
                 PostgreSQL is asked, within the budget, and if it may not answer, the call is answered with \
                 what there is.",
            )
            .millis_or("LEGACY_FRESHNESS_WAIT_MILLIS", 500),
    }
}

fn overlay(env: &mut Env) -> Limits {
    Limits {
        events: env
            .about("Maximum number of recent events in memory. With them, a read model that lags by fewer events answers reads over one hop exactly. One that lags by more answers them as of its own revision, until it lags by MAX_STALENESS_SECONDS.")
            .number_or("OVERLAY_EVENTS", 100_000, 1_000..=10_000_000),
        bytes: env
            .about("Most memory that they take.")
            .number_or("OVERLAY_BYTES", 64 << 20, 1 << 20..=8 << 30),
    }
}

fn read_source(env: &mut Env) -> ReadSource {
    env.about("Which stores reads come from: auto (Neo4j, and within the budget PostgreSQL where it cannot answer), neo4j (alone: never PostgreSQL, not even for fully_consistent reads) or postgres (alone: the budget per second does not count then, FALLBACK_CONCURRENCY does).")
        .parse_or("READ_SOURCE", "auto")
}

fn tolerance(env: &mut Env) -> Tolerance {
    let max_staleness = env
        .about("A read model that lags by more than this is not asked, except for reads over one hop while the events that it lacks are in memory (OVERLAY_EVENTS).")
        .number_or("MAX_STALENESS_SECONDS", 60, 1..=LONGEST_STALENESS.as_secs());
    let max_lag = env
        .about("Where there are several replicas of the read model, one that misses something older is asked only if no other can answer.")
        .seconds_or("REPLICA_MAX_LAG_SECONDS", 5);
    Tolerance { max_staleness: Duration::from_secs(max_staleness), max_lag }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [(&str, &str); 6] = [
        ("AUTH_TOKENS", "read:hunter2"),
        ("DATABASE_URL", "postgres://app:pw@127.0.0.1/main"),
        ("NATS_URL", "nats://127.0.0.1:4222"),
        ("NEO4J_URI", "bolt://127.0.0.1:7687"),
        ("NEO4J_USER", "neo4j"),
        ("NEO4J_PASSWORD", "hunter2"),
    ];

    #[test]
    fn the_needed_settings_are_enough() {
        let mut env = Env::from_pairs(NEEDED);
        let config = Config::read(&mut env);
        let config = env.finish(config).expect("valid settings");
        let projectors: Vec<_> = config.replicas.into_iter().map(|replica| replica.projector).collect();
        assert_eq!(projectors, ["projector-0"]);
        assert!(config.page_token_keys.is_empty());
        assert_eq!(config.read_source, ReadSource::Auto);
    }

    #[test]
    fn what_is_out_of_range_is_a_mistake_and_secrets_are_not_shown() {
        let wrong = [
            ("PAGE_TOKEN_KEYS", "0123456789abcdef,hunter2"),
            ("FRESHNESS_WAIT_MILLIS", "501"),
            ("MAX_STALENESS_SECONDS", "601"),
            ("READ_SOURCE", "both"),
            ("FALLBACK_CONCURRENCY", "0"),
            ("FALLBACK_BUDGET_PER_SECOND", "0"),
        ];
        let mut env = Env::from_pairs(NEEDED.into_iter().chain(wrong));
        let config = Config::read(&mut env);
        assert!(!env.redacted().contains("hunter2"), "{}", env.redacted());
        let error = env.finish(config).expect_err("mistakes");
        let mut names: Vec<_> = error.mistakes.iter().map(|mistake| mistake.variable.as_str()).collect();
        names.sort_unstable();
        let mut wanted = wrong.map(|(name, _)| name);
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn numbers_that_no_server_could_bear_are_a_mistake() {
        // Each of these ended the process, or all of its sessions, after the start.
        let wrong = [
            ("FALLBACK_CONCURRENCY", "4294967295"),
            ("FALLBACK_BUDGET_PER_SECOND", "4294967295"),
            ("DATABASE_STATEMENT_TIMEOUT_MILLIS", "3000000000"),
            ("DATABASE_TCP_USER_TIMEOUT_MILLIS", "3000000000"),
        ];
        for mistake in wrong {
            let mut env = Env::from_pairs(NEEDED.into_iter().chain([mistake]));
            let config = Config::read(&mut env);
            let error = env.finish(config).expect_err(mistake.0).to_string();
            assert!(error.contains(mistake.0), "{error}");
        }
    }

    #[test]
    fn keys_rotate() {
        let keys = [("PAGE_TOKEN_KEYS", "0123456789abcdef, fedcba9876543210")];
        let mut env = Env::from_pairs(NEEDED.into_iter().chain(keys));
        let config = Config::read(&mut env);
        let config = env.finish(config).expect("valid settings");
        assert_eq!(
            config.page_token_keys,
            [Secret::from("0123456789abcdef"), Secret::from("fedcba9876543210")]
        );
    }
}
