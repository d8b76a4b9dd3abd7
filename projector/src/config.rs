//! The projector's settings.

use proto::subjects;
use service_kit::{Env, nats, neo4j, postgres};

/// Enough for one range, one head and one page of the outbox at a time.
const DATABASE_CONNECTIONS: u32 = 4;

/// All settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// PostgreSQL; the projector only reads.
    pub database: postgres::Settings,
    /// NATS: stream and heartbeats.
    pub nats: nats::Settings,
    /// Neo4j.
    pub neo4j: neo4j::Settings,
    /// `PROJECTOR_NAME` (projector-0): its name in announcements.
    pub name: String,
    /// `SWEEP_EDGES_PER_SECOND` (500): rate of the sweep of a complete read model.
    pub sweep_edges_per_second: u32,
}

impl Config {
    /// Reads them.
    pub fn read(env: &mut Env) -> Self {
        let mut database = postgres::Settings::read(env);
        database.max_connections = database.max_connections.min(DATABASE_CONNECTIONS);
        let nats = nats::Settings::read(env);
        let neo4j = neo4j::Settings::read(env);
        let name = env
            .about("Name of this projector, part of the NATS subject of its announcements.")
            .text_or("PROJECTOR_NAME", "projector-0");
        if !subjects::is_projector_name(&name) {
            env.reject("PROJECTOR_NAME", subjects::PROJECTOR_NAME_RULE);
        }
        let sweep_edges_per_second = env
            .about("Rate of the sweep of a complete read model, in edges per second.")
            .formerly("AUDIT_ROWS_PER_SECOND", "0.2.0")
            .number_or("SWEEP_EDGES_PER_SECOND", 500, 1..=10_000_000);
        Self { database, nats, neo4j, name, sweep_edges_per_second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [(&str, &str); 5] = [
        ("DATABASE_URL", "postgres://app:pw@127.0.0.1:5432/followgraph"),
        ("NATS_URL", "nats://127.0.0.1:4222"),
        ("NEO4J_URI", "bolt://127.0.0.1:7687"),
        ("NEO4J_USER", "neo4j"),
        ("NEO4J_PASSWORD", "pw"),
    ];

    #[test]
    fn only_the_addresses_are_required() {
        let mut env = Env::from_pairs(NEEDED);
        let config = Config::read(&mut env);
        let config = env.finish(config).expect("valid settings");
        assert_eq!((config.name.as_str(), config.sweep_edges_per_second), ("projector-0", 500));
    }

    #[test]
    fn a_name_that_breaks_the_subject_is_refused() {
        for name in ["a.b", "a*", "a b", "a>"] {
            let mut env = Env::from_pairs(NEEDED.into_iter().chain([("PROJECTOR_NAME", name)]));
            let config = Config::read(&mut env);
            assert!(env.finish(config).is_err(), "{name}");
        }
    }
}
