//! Readiness of this process and gauges of its stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use service_kit::Latch;
use tokio::time::Instant;

use super::StoreRouter;
use crate::metrics::{
    BUDGET_LEFT, REPLICA_LAG, REPLICA_REVISION, REPLICA_SERVING, REPLICA_STALENESS, SERVING,
};
use crate::queries::Source;
use crate::replicas::ReplicaHealth;

/// How long a start waits for a replica of the read model with planned statements: until then, the fallback budget
/// would reject most calls.
const COLD_START: Duration = Duration::from_secs(30);

/// The check whether any store can answer. Clones share it.
#[derive(Clone, Debug)]
pub struct StoresWatch {
    router: Arc<StoreRouter>,
    /// Passes while any store can answer.
    latch: Latch,
    started: Instant,
    /// True once a replica of the read model has served since the start.
    warm: Arc<AtomicBool>,
}

impl StoresWatch {
    /// Creates the check for a starting process.
    pub fn new(router: Arc<StoreRouter>, latch: Latch, started: Instant) -> Self {
        Self { router, latch, started, warm: Arc::default() }
    }

    /// Updates the readiness check and the gauges.
    pub fn update(&self) {
        let now = Instant::now();
        let replicas = self.router.health(now);
        let postgres = self.router.postgres_problem();
        let neo4j_serves = replicas.iter().any(|replica| replica.problem.is_none());
        let wants_neo4j = self.router.settings.read_source.allows(Source::Neo4j);
        let cold = wants_neo4j
            && !self.warm.fetch_or(neo4j_serves, Ordering::Relaxed)
            && !neo4j_serves
            && now.saturating_duration_since(self.started) < COLD_START;
        match &postgres {
            Some(postgres) if !neo4j_serves => {
                self.latch.not_ready(&format!("neo4j: {}; postgres: {postgres}", problems(&replicas)));
            }
            _ if cold => self.latch.not_ready(&format!(
                "neo4j: {}; after {COLD_START:?} PostgreSQL answers alone",
                problems(&replicas)
            )),
            _ => self.latch.ready(),
        }
        let gauge = |serving| if serving { 1.0 } else { 0.0 };
        for (store, serves) in [(Source::Neo4j, neo4j_serves), (Source::Postgres, postgres.is_none())] {
            // Do not report stores that READ_SOURCE excludes.
            if self.router.settings.read_source.allows(store) {
                metrics::gauge!(SERVING, "store" => store.name()).set(gauge(serves));
            }
        }
        metrics::gauge!(BUDGET_LEFT).set(f64::from(self.router.budget.left()));
        let head = self.router.heads.head().map_or(0, |head| head.revision.0);
        for replica in replicas {
            let name = replica.name;
            metrics::gauge!(REPLICA_SERVING, "replica" => Arc::clone(&name))
                .set(gauge(replica.problem.is_none()));
            let Some(visible) = replica.visible else { continue };
            let lag = head.saturating_sub(visible.revision.0);
            // Far below 2^53.
            metrics::gauge!(REPLICA_REVISION, "replica" => Arc::clone(&name)).set(visible.revision.0 as f64);
            metrics::gauge!(REPLICA_LAG, "replica" => Arc::clone(&name)).set(lag as f64);
            metrics::gauge!(REPLICA_STALENESS, "replica" => name).set(replica.staleness.as_secs_f64());
        }
    }
}

/// Why none of them is used. A single replica is not named.
fn problems(replicas: &[ReplicaHealth]) -> String {
    let text =
        |replica: &ReplicaHealth| match (replica.problem.as_deref().unwrap_or_default(), replicas.len()) {
            (problem, 1) => problem.to_owned(),
            (problem, _) => format!("{}: {problem}", replica.name),
        };
    replicas.iter().map(text).collect::<Vec<_>>().join(", ")
}
