//! The state of the pipeline, for people and the console.
//!
//! Owns: putting together what this process knows. It must not ask any store: the status must come when all are down.
//! What can go wrong: what is known may be old; it says of when it is.

use proto::graph::v1::{Head, ReplicaStatus, StoreStatus};
use proto::query::v1::GetStatusResponse;
use tokio::time::Instant;

use super::Queries;
use crate::pipeline::Announcement;
use crate::reader::{Sight, Source};

impl Queries {
    /// What is known now.
    pub(super) fn status(&self, now: Instant) -> GetStatusResponse {
        let beacon = self.policy.horizon.last_beacon();
        let head = self.policy.horizon.head();
        let newest = head.map_or(0, |head| head.revision.0);
        GetStatusResponse {
            head: beacon.map(|beacon| Head {
                epoch: beacon.head.epoch.0,
                revision: beacon.head.revision.0,
                // Beacons do not tell it.
                event_id: String::new(),
                token: beacon.head.to_string(),
            }),
            beacon_at: beacon.map(|beacon| beacon.sent_at),
            replicas: self.roster.list(now).into_iter().map(|a| replica(a, newest)).collect(),
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

fn replica(announcement: Announcement, head: u64) -> ReplicaStatus {
    let said = announcement.said;
    let micros = i64::try_from(said.lag_micros).unwrap_or(i64::MAX);
    ReplicaStatus {
        name: said.name,
        revision: said.revision,
        visible: said.visible,
        complete: said.complete,
        sweep_progress: said.sweep_progress,
        differences: said.differences,
        lag_revisions: head.saturating_sub(said.visible),
        lag: Some(prost_types::Duration {
            seconds: micros / 1_000_000,
            // Below a thousand million.
            nanos: i32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000,
        }),
        seen_at: said.sent_at,
        problem: said.problem,
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
