//! The state of the pipeline for GetStatus and `/readyz`.
//!
//! Reads no store, so it answers while all are down. Each value carries the time at which it was received.

use std::sync::Arc;
use std::time::Duration;

use event_log::heartbeat::Heartbeat;
use event_log::projectors::ProjectorRegistry;
use proto::graph::v1::{Check, CheckState, Head, StoreStatus};
use proto::query::v1::GetStatusResponse;
use proto::timestamp;
use service_kit::{Readiness, readiness};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::health::{self, Known};
use crate::queries::Source;
use crate::replicas::ReplicaHealth;
use crate::router::StoreRouter;

/// Interval at which the checks are evaluated while GetStatus is not called, so that their times are current.
const EVALUATION: Duration = Duration::from_secs(1);

/// The known state of the pipeline. Clones share it.
#[derive(Clone, Debug)]
pub struct PipelineStatus {
    pub router: Arc<StoreRouter>,
    pub projectors: ProjectorRegistry,
    pub readiness: Readiness,
}

impl PipelineStatus {
    /// Evaluates the checks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVALUATION);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.observe(&self.router.health(Instant::now()), Instant::now()),
            }
        }
    }

    /// The current state.
    pub fn get(&self, now: Instant) -> GetStatusResponse {
        let heartbeat = self.router.heads.last_heartbeat();
        let head = self.router.heads.head();
        let replicas = self.router.health(now);
        self.observe(&replicas, now);
        GetStatusResponse {
            head: heartbeat.map(|Heartbeat { head, .. }| Head {
                epoch: head.epoch.0,
                revision: head.revision.0,
                // A heartbeat does not contain it.
                event_id: String::new(),
                token: head.to_string(),
            }),
            beacon_at: heartbeat.map(|heartbeat| heartbeat.sent_at),
            replicas: self.projectors.statuses(head, now),
            stores: replicas
                .into_iter()
                .map(read_model)
                .chain([store(Source::Postgres, self.router.postgres_problem().as_deref())])
                .collect(),
            fallback_budget: self.router.budget.left(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            checks: self.readiness.report().checks().map(check).collect(),
        }
    }

    fn observe(&self, replicas: &[ReplicaHealth], now: Instant) {
        let reads = |store| self.router.settings.read_source.allows(store);
        let known = Known {
            heartbeat_age: self.router.heads.heartbeat_age(now),
            replicas: if reads(Source::Neo4j) { replicas } else { &[] },
            postgres: reads(Source::Postgres).then(|| self.router.postgres_problem()),
        };
        self.readiness.observe(health::observe(&known));
    }
}

fn check(check: &readiness::Check) -> Check {
    let state = if check.reason.is_none() { CheckState::Ok } else { CheckState::Failed };
    Check {
        name: check.kind.name.to_owned(),
        subject: check.subject.clone(),
        state: state.into(),
        reason: check.reason.clone().unwrap_or_default(),
        since: Some(timestamp::to_proto(check.since)),
        action: check.kind.action.to_owned(),
        required: check.required,
    }
}

fn read_model(replica: ReplicaHealth) -> StoreStatus {
    StoreStatus {
        replica: replica.name.to_string(),
        visible: replica.visible.map_or(0, |visible| visible.revision.0),
        // Staleness is bounded by ten minutes, so this fits.
        staleness: prost_types::Duration::try_from(replica.staleness).ok(),
        lagging: replica.lagging,
        ..store(Source::Neo4j, replica.problem.as_deref())
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
