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
const HOT_SET_BYTES: &str = "HOT_SET_BYTES";
/// A smaller hot set would hold nearly nothing.
const LEAST_HOT_SET: usize = 64 << 10;

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
    /// `PAGE_TOKEN_KEYS`: the first key signs page tokens, all verify. Empty: a random key for this process.
    pub page_token_keys: Vec<Secret>,
    /// Limits of the reads that fall back to PostgreSQL.
    pub fallback: Fallback,
    /// `NEO4J_READ_TIMEOUT_MILLIS` (500).
    pub neo4j_read_timeout: Duration,
    /// `FRESHNESS_WAIT_MILLIS` (200, from 50 to 500).
    pub freshness_wait: Duration,
    /// `COALESCING_LANES` (4, at most 64); with 0, questions do not share statements.
    pub coalescing_lanes: usize,
    /// `READ_SOURCE` (auto).
    pub read_source: ReadSource,
    /// `MAX_STALENESS_SECONDS` (60, at most 600) and `REPLICA_MAX_LAG_SECONDS` (5).
    pub tolerance: Tolerance,
    /// `OVERLAY_EVENTS` (100000) and `OVERLAY_BYTES` (64 MiB): the recent events that are kept in memory.
    pub overlay: Limits,
    /// `HOT_SET_BYTES` (0): memory for answers to frequent questions; 0: none.
    pub hot_set_bytes: usize,
    /// `WATCH_LIMIT` (100).
    pub watch_limit: usize,
    /// `LEGACY_DEFAULT_LIMIT` (50) and `LEGACY_FRESHNESS_WAIT_MILLIS` (500): the older API's reads.
    pub legacy: LegacySettings,
}

/// Limits of the reads that fall back to PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub struct Fallback {
    /// `FALLBACK_BUDGET_PER_SECOND` (2000), in cost units: a read costs one, plus one for every fifty items.
    pub per_second: NonZeroU32,
    /// `FALLBACK_CONCURRENCY` (16): concurrent reads, and the connections for them.
    pub concurrency: u32,
}

impl Config {
    /// Reads the settings; mistakes are collected in `env`.
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
                .about(
                    "Timeout of a Neo4j read; four times as long for reads over several hops. After it, another \
                     replica is asked, then PostgreSQL.",
                )
                .millis_or("NEO4J_READ_TIMEOUT_MILLIS", 500),
            freshness_wait: freshness_wait(env),
            tolerance: tolerance(env),
            coalescing_lanes: env
                .about("Maximum number of concurrent shared statements on each replica, for each of checks, relationships and counts. With 0, each read has its own statement.")
                .number_or("COALESCING_LANES", 4, 0..=64),
            read_source: read_source(env),
            overlay: overlay(env),
            hot_set_bytes: hot_set_bytes(env),
            watch_limit: env.about("Maximum number of concurrent WatchEvents calls.").number_or(
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
            .about("Budget of reads on PostgreSQL per second, in cost units: a read costs one, plus one for every fifty items. It covers reads that Neo4j cannot answer, fully_consistent reads, and pages of older events for WatchEvents. Reads of more than 1,000 items get at most three quarters of it. With READ_SOURCE=postgres it does not limit reads.")
            .number_or("FALLBACK_BUDGET_PER_SECOND", 2_000, 1..=10_000_000);
        let concurrency = env
            .about(
                "Maximum number of concurrent fallback reads. At most three quarters of them may be reads of more than 1,000 items.",
            )
            .number_or("FALLBACK_CONCURRENCY", 16, 1..=1_000);
        // Zero was rejected above.
        Self { per_second: NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN), concurrency }
    }
}

fn page_token_keys(env: &mut Env) -> Vec<Secret> {
    let text = env
        .about("Keys that sign page tokens, comma-separated, at least 16 bytes each. The first key signs, all keys verify. All replicas need the same keys. If unset, a token is valid only in the process that made it, until that ends.")
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
            "How long a read waits until this process or a replica has reached the revision that it asks for (reads over several hops: 1 second). After that it falls back to PostgreSQL. Also how long an answer of Neo4j waits for the recent events that it needs.",
        )
        .number_or("FRESHNESS_WAIT_MILLIS", 200, 50..=500);
    Duration::from_millis(millis)
}

fn legacy(env: &mut Env) -> LegacySettings {
    LegacySettings {
        default_limit: env
            .about("Default page size of lists of the older API, for a limit of 0. Its oldest clients expect 1000.")
            .number_or("LEGACY_DEFAULT_LIMIT", 50, 1..=1_000),
        freshness_wait: env
            .about(
                "How long a read of the older API waits for this process to read what the stream held when the call \
                 came (read-your-writes). After that it falls back to PostgreSQL, within the budget. If PostgreSQL \
                 may not answer either, the call returns the current state.",
            )
            .millis_or("LEGACY_FRESHNESS_WAIT_MILLIS", 500),
    }
}

fn overlay(env: &mut Env) -> Limits {
    Limits {
        events: env
            .about("Maximum number of recent events in memory. With them, a read model that lags by fewer events answers reads over one hop exactly. If it lags by more, its answers are used only if they are of one revision, until it lags by MAX_STALENESS_SECONDS; for others the next replica or PostgreSQL is asked.")
            .number_or("OVERLAY_EVENTS", 100_000, 1_000..=10_000_000),
        bytes: env
            .about("Memory limit of the recent events, in bytes.")
            .number_or("OVERLAY_BYTES", 64 << 20, 1 << 20..=8 << 30),
    }
}

fn hot_set_bytes(env: &mut Env) -> usize {
    let bytes = env
        .about("Memory limit of answers that query-service keeps, in bytes, in addition to OVERLAY_BYTES: sets of up to 16,384 followed accounts, the newest 1,024 rows of lists, and counts. Every event is applied to them, so they are exact; reads that they answer reach no store. 0 turns it off; otherwise at least 65536. Needs READ_SOURCE=auto and projectors of this version.")
        .number_or(HOT_SET_BYTES, 0, 0..=8 << 30);
    if (1..LEAST_HOT_SET).contains(&bytes) {
        env.reject(HOT_SET_BYTES, format!("must be 0, or at least {LEAST_HOT_SET}"));
    }
    bytes
}

fn read_source(env: &mut Env) -> ReadSource {
    env.about("Which stores answer reads: auto (Neo4j; PostgreSQL within the budget if Neo4j cannot answer), neo4j (never PostgreSQL, not even for fully_consistent reads) or postgres (never Neo4j; FALLBACK_BUDGET_PER_SECOND does not apply, FALLBACK_CONCURRENCY does).")
        .parse_or("READ_SOURCE", "auto")
}

fn tolerance(env: &mut Env) -> Tolerance {
    let max_staleness = env
        .about("A read model that lags by more than this many seconds answers no reads, except reads over one hop while the events that it lacks are in memory (OVERLAY_EVENTS).")
        .number_or("MAX_STALENESS_SECONDS", 60, 1..=LONGEST_STALENESS.as_secs());
    let max_lag = env
        .about("A replica of the read model that lags by more than this many seconds is used only if no other replica can answer. Memory (HOT_SET_BYTES) answers only while this process lacks nothing older.")
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
            ("HOT_SET_BYTES", "1000"),
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
        // Each of these once ended the process, or all of its sessions, after the start.
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
