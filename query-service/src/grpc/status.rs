//! The state of the pipeline, for people and the console.
//!
//! Owns: putting together what this process knows. It must not ask any store: the status must come when all are down.
//! What can go wrong: what is known may be old; it says of when it is.

use event_log::heartbeat::Heartbeat;
use proto::graph::v1::{Head, StoreStatus};
use proto::query::v1::GetStatusResponse;
use tokio::time::Instant;

use super::Queries;
use crate::reader::{Sight, Source};

impl Queries {
    /// What is known now.
    pub(super) fn status(&self, now: Instant) -> GetStatusResponse {
        let heartbeat = self.policy.horizon.last_heartbeat();
        let head = self.policy.horizon.head();
        GetStatusResponse {
            head: heartbeat.map(|Heartbeat { head, .. }| Head {
                epoch: head.epoch.0,
                revision: head.revision.0,
                // A heartbeat does not carry it.
                event_id: String::new(),
                token: head.to_string(),
            }),
            beacon_at: heartbeat.map(|heartbeat| heartbeat.sent_at),
            replicas: self.projectors.statuses(head, now),
            stores: self
                .policy
                .sights(now)
                .into_iter()
                .map(read_model)
                .chain([store(Source::Postgres, self.policy.postgres_problem())])
                .collect(),
            fallback_budget: self.policy.budget.left(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

fn read_model(sight: Sight) -> StoreStatus {
    StoreStatus {
        replica: sight.name.to_string(),
        visible: sight.visible.map_or(0, |visible| visible.revision.0),
        // It is known up to ten minutes: it fits.
        staleness: prost_types::Duration::try_from(sight.staleness).ok(),
        lagging: sight.lagging,
        ..store(Source::Neo4j, sight.problem)
    }
}

fn store(source: Source, problem: Option<&str>) -> StoreStatus {
    StoreStatus {
        name: source.name().to_owned(),
        serving: problem.is_none(),
        reason: problem.unwrap_or_default().to_owned(),
        ..StoreStatus::default()
    }
}
