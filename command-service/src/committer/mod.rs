//! Group commit: many commands, one transaction.
//!
//! Owns: the queue, the forming of batches, and what happens when a transaction
//! fails or its outcome is in doubt. It must not know gRPC or NATS.
//!
//! There is no timer. While one transaction runs, what arrives gathers and forms
//! the next batch: alone, a command waits for nobody; under load, batches grow.
//!
//! What can go wrong:
//! - The transaction fails before COMMIT: it certainly did not happen; it is tried
//!   again for a while, then the callers hear NOT_COMMITTED.
//! - The reply to COMMIT is lost: the batch is never repeated blindly (that would
//!   bring back an edge that another replica has removed since). Its batch_id is
//!   looked up, at the revision that it would have, under the lock on the head.
//! - One command makes a statement fail or run into a timeout: the batch is taken apart at
//!   once, in three steps (`pieces`), so that it fails alone. It is not repeated: it would
//!   hold the head as long again.

mod batch;
mod journal;
mod outcome;
mod pieces;
mod pulse;
mod queue;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use proto::Revision;
use service_kit::ids;
use service_kit::telemetry::chain;
use service_kit::trace;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use journal::Journal;
pub use outcome::{Failure, Outcome};
pub use pulse::Pulse;
pub use queue::{Lane, Queue, QueueFull, Unit};

use crate::clock::DatabaseClock;
use crate::domain::FollowCap;
use crate::metrics;
use crate::relay::Recent;
use crate::store::outbox::Entry;
use crate::store::{is_transient, misses_partition};
use pieces::Pieces;
use transaction::{Attempt, Done};

/// How a committer works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a batch is tried for while the database is away.
    pub patience: Duration,
    /// The most commands in one transaction.
    pub max_batch: u32,
    /// How many others an account may follow.
    pub follow_cap: FollowCap,
}

/// Commits what the queue holds, until told to stop and the queue is empty.
pub struct Committer {
    pool: PgPool,
    settings: Settings,
    clock: DatabaseClock,
    signals: Signals,
}

/// Whom a committer tells what it has done.
pub struct Signals {
    /// What is committed, for the relay.
    pub recent: Recent,
    /// That the head has moved, for the relay.
    pub committed: watch::Sender<proto::Token>,
    /// That there are jobs to do, for the worker.
    pub jobs: Arc<Notify>,
    /// That a partition is missing, for the upkeep.
    pub partitions: Arc<Notify>,
    /// Whether commits go through, for readiness.
    pub pulse: Pulse,
}

/// Longest time in which a failed batch is taken apart, about as long as callers wait: the committer does nothing else.
const TAKEN_APART: Duration = Duration::from_secs(60);

impl Committer {
    /// A committer on a pool of its own.
    pub fn new(pool: PgPool, settings: Settings, clock: DatabaseClock, signals: Signals) -> Self {
        Self { pool, settings, clock, signals }
    }

    /// Runs until `stop` and until nothing waits any more.
    pub async fn run(self, mut queue: queue::Receiver, stop: CancellationToken) -> Result<(), sqlx::Error> {
        while let Some(units) = queue.next_batch(self.settings.max_batch, &stop).await {
            ::metrics::histogram!(metrics::BATCH_COMMANDS).record(units.len() as f64);
            let started = Instant::now();
            self.commit(units, started).await;
            ::metrics::histogram!(metrics::COMMIT_SECONDS).record(started.elapsed());
        }
        Ok(())
    }

    /// Commits a batch, whole if possible, and answers every command of it.
    ///
    /// One that fails is taken apart until the commands that are at fault stand alone. Where the database is slow, all
    /// of them seem to be: so it goes on without those whose callers have left, and only for [`TAKEN_APART`].
    async fn commit(&self, units: Vec<Unit>, started: Instant) {
        let (until, give_up) = (started + self.settings.patience, started + TAKEN_APART);
        let Some(failed) = self.commit_together(units, until).await else { return };
        let mut pieces = Pieces::of(failed);
        while let Some(mut piece) = pieces.pop() {
            piece.retain(|unit| !unit.reply.is_closed());
            let now = Instant::now();
            if now >= give_up {
                piece.into_iter().for_each(|unit| drop(unit.reply.send(Err(Failure::NotCommitted))));
            } else if !piece.is_empty() {
                let until = (now + self.settings.patience).min(give_up);
                if let Some(failed) = self.commit_together(piece, until).await {
                    pieces.take_apart(failed);
                }
            }
        }
    }

    /// Commits commands in one transaction and answers them. Returns them, unanswered, if one of several is at fault.
    async fn commit_together(&self, units: Vec<Unit>, until: Instant) -> Option<Vec<Unit>> {
        match self.persist(&units, until).await {
            Ok(outcomes) => {
                for (unit, outcome) in units.into_iter().zip(outcomes) {
                    // The caller may have given up; what was committed stays.
                    let _ = unit.reply.send(outcome);
                }
                None
            }
            Err(Failure::Internal | Failure::TimedOut) if units.len() > 1 => {
                ::metrics::counter!(metrics::BATCHES_TAKEN_APART).increment(1);
                Some(units)
            }
            Err(failure) => {
                if matches!(failure, Failure::NotCommitted | Failure::OutcomeUnknown) {
                    self.signals.pulse.stop();
                }
                if failure == Failure::TimedOut {
                    ::metrics::counter!(metrics::COMMANDS_TIMED_OUT).increment(units.len() as u64);
                }
                for unit in units {
                    let _ = unit.reply.send(Err(failure.clone()));
                }
                None
            }
        }
    }

    /// Tries a batch until it is in, or cannot be, or patience ends.
    async fn persist(&self, units: &[Unit], until: Instant) -> Result<Vec<Outcome>, Failure> {
        let mut pause = Pause::default();
        loop {
            let batch_id = ids::random();
            let began = Instant::now();
            match self.attempt(units, batch_id).await {
                Attempt::Done(done) => {
                    trace_commit(units, began);
                    return Ok(self.finish(done));
                }
                Attempt::TimedOut(error) => {
                    tracing::warn!(error = %chain(&error), commands = units.len(), "a batch ran into a timeout");
                    return Err(Failure::TimedOut);
                }
                Attempt::Forked => {
                    ::metrics::counter!(metrics::FORKED_COMMANDS).increment(units.len() as u64);
                    return Err(Failure::Forked);
                }
                Attempt::Failed(error) if is_transient(&error) => {
                    tracing::warn!(error = %chain(&error), "a batch was rolled back");
                    ::metrics::counter!(metrics::TRANSACTION_RETRIES, "transaction" => "commands")
                        .increment(1);
                    if !pause.before(until).await {
                        return Err(Failure::NotCommitted);
                    }
                }
                Attempt::Failed(error) => {
                    tracing::error!(error = %chain(&error), commands = units.len(), "a batch failed");
                    return Err(Failure::Internal);
                }
                Attempt::InDoubt(done, error) => {
                    tracing::warn!(error = %chain(&error), %batch_id, "the reply to COMMIT was lost");
                    ::metrics::counter!(metrics::COMMITS_IN_DOUBT).increment(1);
                    let first = done.entries.first().map(Entry::revision);
                    match self.resolve(batch_id, first, until).await {
                        // It is not in, or it had no events to be found by: then it either changes
                        // nothing again or was never answered. Both can be repeated.
                        Some(false) => {
                            if !pause.before(until).await {
                                return Err(Failure::NotCommitted);
                            }
                        }
                        Some(true) => {
                            trace_commit(units, began);
                            return Ok(self.finish(done));
                        }
                        None => return Err(Failure::OutcomeUnknown),
                    }
                }
            }
        }
    }

    async fn attempt(&self, units: &[Unit], batch_id: Uuid) -> Attempt {
        let follow_cap = self.settings.follow_cap;
        let attempt = transaction::attempt(&self.pool, units, batch_id, follow_cap, &self.clock).await;
        if let Attempt::Failed(error) = &attempt
            && misses_partition(error)
        {
            self.signals.partitions.notify_one();
        }
        attempt
    }

    /// Finds out whether a batch went through.
    async fn resolve(&self, batch_id: Uuid, first: Option<Revision>, until: Instant) -> Option<bool> {
        let mut pause = Pause::default();
        loop {
            match transaction::went_through(&self.pool, batch_id, first).await {
                Ok(found) => {
                    tracing::info!(%batch_id, found, "a commit in doubt was cleared up");
                    return Some(found);
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), %batch_id, "a commit is still in doubt");
                    if !pause.before(until).await {
                        return None;
                    }
                }
            }
        }
    }

    fn finish(&self, done: Done) -> Vec<Outcome> {
        self.signals.pulse.beat();
        ::metrics::counter!(metrics::EVENTS_COMMITTED).increment(done.entries.len() as u64);
        ::metrics::counter!(metrics::EDGES_CHANGED).increment(done.edges);
        if !done.entries.is_empty() {
            self.signals.recent.push(done.entries);
            self.signals.committed.send_replace(done.head);
        }
        if done.jobs {
            self.signals.jobs.notify_one();
        }
        done.outcomes
    }
}

/// The commit, in the trace of each command that has one.
fn trace_commit(units: &[Unit], began: Instant) {
    if trace::enabled() {
        let size = ("commands", units.len() as u64);
        let traces = units.iter().filter_map(|unit| unit.traceparent.as_deref());
        traces.for_each(|of| trace::stage("commit", trace::Kind::Internal, Some(of), began, size));
    }
}

/// Growing pauses between attempts.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    /// Waits a little; answers false, at once, if that would be too late.
    async fn before(&mut self, until: Instant) -> bool {
        let pause = Duration::from_millis(10 << self.0.min(5));
        self.0 += 1;
        if Instant::now() + pause >= until {
            return false;
        }
        tokio::time::sleep(ids::jitter(pause, 0.5..=1.0)).await;
        true
    }
}
