//! Forms batches, commits each in one transaction, and answers the commands.
//!
//! There is no timer: while one transaction runs, the next batch gathers. A single command does not wait; under load,
//! batches grow.
//!
//! If the transaction fails before COMMIT, nothing was written; it is retried until a timeout, then the commands fail
//! with NOT_COMMITTED. If the reply to COMMIT is lost, a blind retry could bring back an edge that another process has
//! removed since: so the batch_id is looked up at the revision that the batch would have, under the lock on the head.
//! If one command makes a statement fail or run into a timeout, the batch is taken apart at once ([`Pieces`]), so that
//! this command fails alone.

use std::sync::Arc;
use std::time::Duration;

use proto::Revision;
use service_kit::ids;
use service_kit::telemetry::chain;
use service_kit::trace::{Kind, Parent, Span};
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::batch::{Decided, JobChange};
use super::commit_probe::CommitProbe;
use super::outcome::{Failure, Outcome};
use super::pieces::Pieces;
use super::queue::{self, Unit};
use super::transaction::{self, Attempt};
use crate::clock::DatabaseClock;
use crate::domain::FollowCap;
use crate::metrics;
use crate::store::outbox::Entry;
use crate::store::recent::Recent;
use crate::store::{is_transient, misses_partition};

/// Settings of the committer.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a batch is retried while the database is down.
    pub timeout: Duration,
    /// Maximum number of commands in one transaction.
    pub max_batch: u32,
    /// How many accounts one account may follow.
    pub follow_cap: FollowCap,
}

/// Commits the commands of the queue. One per process.
pub struct Committer {
    /// A pool of its own: one connection commits, one resolves commits in doubt.
    pub pool: PgPool,
    /// Settings.
    pub settings: Settings,
    /// Decides which dates are in the future.
    pub clock: DatabaseClock,
    /// Committed events, for the relay.
    pub recent: Recent,
    /// The new head, for the relay.
    pub committed: watch::Sender<proto::Token>,
    /// Notified of new jobs, for the worker.
    pub jobs: Arc<Notify>,
    /// Notified of a missing partition, for the maintenance.
    pub partitions: Arc<Notify>,
    /// Whether commits succeed, for readiness.
    pub commit_probe: CommitProbe,
}

/// Time limit for taking a failed batch apart, about as long as callers wait: the committer does nothing else
/// meanwhile.
const TAKE_APART_TIMEOUT: Duration = Duration::from_secs(60);

impl Committer {
    /// Runs until `stop` and until the queue is empty.
    pub async fn run(self, mut queue: queue::Receiver, stop: CancellationToken) -> sqlx::Result<()> {
        while let Some(units) = queue.next_batch(self.settings.max_batch, &stop).await {
            ::metrics::histogram!(metrics::BATCH_COMMANDS).record(units.len() as f64);
            let started = Instant::now();
            self.commit(units, started).await;
            ::metrics::histogram!(metrics::COMMIT_SECONDS).record(started.elapsed());
        }
        Ok(())
    }

    /// Commits a batch, whole if possible, and answers each of its commands.
    ///
    /// A batch that fails is taken apart until the faulty commands are alone. If the database is slow, all of them seem
    /// to be faulty: so commands whose callers have left are dropped, and after [`TAKE_APART_TIMEOUT`] the rest fail.
    async fn commit(&self, units: Vec<Unit>, started: Instant) {
        let (until, give_up) = (started + self.settings.timeout, started + TAKE_APART_TIMEOUT);
        let Some(failed) = self.commit_together(units, until).await else { return };
        let mut pieces = Pieces::of(failed);
        while let Some(mut piece) = pieces.pop() {
            piece.retain(|unit| !unit.reply.is_closed());
            let now = Instant::now();
            if now >= give_up {
                piece.into_iter().for_each(|unit| drop(unit.reply.send(Err(Failure::NotCommitted))));
            } else if !piece.is_empty() {
                let until = (now + self.settings.timeout).min(give_up);
                if let Some(failed) = self.commit_together(piece, until).await {
                    pieces.take_apart(failed);
                }
            }
        }
    }

    /// Commits commands in one transaction and answers them. Returns them unanswered if one of several is faulty.
    async fn commit_together(&self, units: Vec<Unit>, until: Instant) -> Option<Vec<Unit>> {
        // Open while the batch is retried and while its COMMIT is in doubt.
        let traceparents = units.iter().filter_map(|unit| unit.traceparent.as_deref());
        let mut span = Span::of_batch("commit", Kind::Internal, traceparents);
        span.set("commands", units.len() as u64);
        let persisted = self.persist(&units, until, &span.as_parent()).await;
        match span.finish(persisted) {
            Ok(outcomes) => {
                for (unit, outcome) in units.into_iter().zip(outcomes) {
                    // The caller may have left. The command stays committed.
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
                    self.commit_probe.record_failure();
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

    /// Retries a batch until it is committed, fails for good, or `until`.
    async fn persist(
        &self,
        units: &[Unit],
        until: Instant,
        parent: &Parent,
    ) -> Result<Vec<Outcome>, Failure> {
        let mut pause = Pause::default();
        loop {
            let batch_id = ids::random();
            let follow_cap = self.settings.follow_cap;
            match transaction::attempt(&self.pool, units, batch_id, follow_cap, &self.clock, parent).await {
                Attempt::Done(done) => return Ok(self.finish(done)),
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
                    if misses_partition(&error) {
                        self.partitions.notify_one();
                    }
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
                    let first = done.journal.entries.first().map(Entry::revision);
                    match self.resolve(batch_id, first, until, parent).await {
                        // It was rolled back, or it has no events: then it changes nothing, or started a job that no
                        // caller knows of. All of these can be repeated.
                        Some(false) => {
                            if !pause.before(until).await {
                                return Err(Failure::NotCommitted);
                            }
                        }
                        Some(true) => return Ok(self.finish(done)),
                        None => return Err(Failure::OutcomeUnknown),
                    }
                }
            }
        }
    }

    /// Returns whether a batch in doubt was committed; `None` if that is not known at `until`.
    async fn resolve(
        &self,
        batch_id: Uuid,
        first: Option<Revision>,
        until: Instant,
        parent: &Parent,
    ) -> Option<bool> {
        let mut pause = Pause::default();
        loop {
            match transaction::was_committed(&self.pool, batch_id, first, parent).await {
                Ok(found) => {
                    tracing::info!(%batch_id, found, "resolved a commit in doubt");
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

    fn finish(&self, done: Decided) -> Vec<Outcome> {
        let (head, entries) = (done.journal.token(), done.journal.entries);
        self.commit_probe.record_success();
        ::metrics::counter!(metrics::EVENTS_COMMITTED).increment(entries.len() as u64);
        ::metrics::counter!(metrics::EDGES_CHANGED).increment(done.journal.edges);
        if !entries.is_empty() {
            self.recent.push(entries);
            self.committed.send_replace(head);
        }
        if done.jobs.iter().any(|change| matches!(change, JobChange::Start(..))) {
            self.jobs.notify_one();
        }
        done.outcomes
    }
}

/// Pauses between attempts: 10 ms, doubling up to 320 ms.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    /// Waits for the next pause. Returns false, at once, if the pause would end after `until`.
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
