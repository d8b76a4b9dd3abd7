//! Probes PostgreSQL and each replica of the read model in the background, and opens and closes their breakers. No
//! caller's request waits for a probe.

use std::sync::Arc;
use std::time::Duration;

use service_kit::telemetry::chain;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::breaker::Cause;
use super::{Breaker, Replica, SettingsCheck};
use crate::hot::Generations;
use crate::metrics::{BREAKER_OPENED, HOT_VALID};
use crate::neo4j::Neo4jReader;
use crate::postgres::{self, PostgresReader};
use crate::queries::{Error, Source};
use crate::recent::HeadTracker;

/// Interval between probes of a read model.
const NEO4J_PAUSE: Duration = Duration::from_millis(250);
/// Shortest interval, while a read waits for the read model's next checkpoint.
const NEO4J_SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// Timeout of the warm-up: planning after a start of the server may take long.
const WARM_UP: Duration = Duration::from_secs(10);
/// Interval between probes of PostgreSQL.
const POSTGRES_PAUSE: Duration = Duration::from_millis(500);
/// Timeout of an answer of PostgreSQL.
const POSTGRES_TIMEOUT: Duration = Duration::from_secs(1);

/// Probes one replica of the read model.
pub struct Neo4jProbe {
    /// Over its own pool: reads may have used up theirs.
    pub reader: Neo4jReader,
    /// The reads' pool, which is warmed up before the breaker closes.
    pub callers: Neo4jReader,
    /// Records the result of each probe.
    pub breaker: Arc<Breaker>,
    /// Records each checkpoint.
    pub replica: Arc<Replica>,
    /// Number of the replica.
    pub number: usize,
    /// Receives the generation of its repairs.
    pub generations: Generations,
    /// Receives its revision, which counts while neither PostgreSQL nor a heartbeat has been received.
    pub heads: Arc<HeadTracker>,
    /// Timeout of an answer.
    pub timeout: Duration,
    /// Records the result of each probe.
    pub settings: SettingsCheck,
}

impl Neo4jProbe {
    /// Probes until `stop`, and calls `looked` after each probe.
    pub async fn run(self, looked: impl Fn(), stop: CancellationToken) {
        let mut ticks = tokio::time::interval(NEO4J_PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_cause = self.breaker.open();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.replica.look_up_wanted() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look() => {}
            }
            note_change((Source::Neo4j, self.replica.projector()), &mut last_cause, &self.breaker);
            looked();
            tokio::time::sleep(NEO4J_SHORTEST_PAUSE).await;
        }
    }

    async fn look(&self) {
        let began = self.replica.begin_look_up();
        let mut outcome = self.reader.checkpoint(self.timeout).await;
        if matches!(outcome, Err(Error::TimedOut))
            && self.settings.is_open(self.replica.projector())
            && let Some(misconfigured) = self.reader.login_problem(self.timeout).await
        {
            outcome = Err(misconfigured);
        }
        self.settings.replica(self.replica.projector(), &outcome);
        match outcome {
            Ok(found) => {
                self.replica.belongs_to(found.and_then(|found| found.database));
                // A foreign read model has generations, too.
                let ours =
                    found.filter(|found| self.heads.same_history(found.checkpoint.visible, found.database));
                let generation = ours.and_then(|found| found.generation);
                self.generations.set(self.number, generation);
                let replica = Arc::clone(self.replica.projector());
                let is_valid = if generation.is_some() { 1.0 } else { 0.0 };
                metrics::gauge!(HOT_VALID, "replica" => replica).set(is_valid);
                let found = found.map(|found| found.checkpoint);
                self.replica.looked_up(found, began);
                if let Some(checkpoint) = found {
                    self.heads.observe_read_model(checkpoint.visible, Instant::now());
                }
                if self.breaker.probe_succeeded(Instant::now()) {
                    match self.callers.warm_up(WARM_UP).await {
                        Ok(()) => self.breaker.close(Instant::now()),
                        Err(error) => {
                            let error = &error as &dyn std::error::Error;
                            let replica = &**self.replica.projector();
                            tracing::warn!(error, replica, "the read model does not warm up");
                            self.breaker.probe_failed(Instant::now(), None);
                        }
                    }
                }
            }
            Err(error) => {
                let (replica, cause) = (&**self.replica.projector(), &error as &dyn std::error::Error);
                tracing::debug!(error = cause, replica, "the read model does not answer");
                let found = match error {
                    Error::Misconfigured(problem) => Some(problem),
                    _ => None,
                };
                self.breaker.probe_failed(Instant::now(), found);
            }
        }
    }
}

/// Probes PostgreSQL.
#[derive(Debug)]
pub struct PostgresProbe {
    /// Over its own pool: reads may have used up theirs.
    pub reader: PostgresReader,
    /// Records the result of each probe.
    pub breaker: Arc<Breaker>,
    /// Records each head.
    pub heads: Arc<HeadTracker>,
    /// Records the result of each probe.
    pub settings: SettingsCheck,
}

impl PostgresProbe {
    /// Probes until `stop`, and calls `looked` after each probe.
    pub async fn run(self, looked: impl Fn(), stop: CancellationToken) {
        let mut ticks = tokio::time::interval(POSTGRES_PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_cause = self.breaker.open();
        let mut last_problem = String::new();
        let nobody = Arc::from("");
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look(&mut last_problem) => {}
            }
            note_change((Source::Postgres, &nobody), &mut last_cause, &self.breaker);
            looked();
        }
    }

    async fn look(&self, last_problem: &mut String) {
        let outcome = self.reader.check_and_head(POSTGRES_TIMEOUT).await;
        let now = Instant::now();
        self.settings.postgres(&outcome);
        match outcome {
            Ok((head, database)) => {
                self.heads.observe_database(database);
                self.heads.observe_head(head, now);
                if self.breaker.probe_succeeded(now) {
                    self.breaker.close(now);
                }
                last_problem.clear();
            }
            Err(error) => {
                self.breaker.probe_failed(now, postgres::problem(&error));
                if self.breaker.open().is_some() {
                    self.reader.forget_check();
                }
                // Log it once, not twice a second: an outage, or a schema that is not migrated, may last for hours.
                let problem = chain(&error);
                if *last_problem != problem {
                    tracing::warn!(problem, "PostgreSQL cannot be used");
                    *last_problem = problem;
                }
            }
        }
    }
}

/// Logs once when the breaker of a store, or of a replica of it, opens or closes.
fn note_change((store, replica): (Source, &Arc<str>), last: &mut Option<Cause>, breaker: &Breaker) {
    let cause = breaker.open();
    if cause == *last {
        return;
    }
    let (store, name) = (store.name(), &**replica);
    match cause {
        None => tracing::info!(store, replica = name, "reads use the store"),
        Some(cause) => {
            tracing::warn!(store, replica = name, cause = cause.text(), "reads do not use the store");
            metrics::counter!(
                BREAKER_OPENED,
                "store" => store,
                "replica" => Arc::clone(replica),
                "cause" => cause.name()
            )
            .increment(1);
        }
    }
    *last = cause;
}
