//! Steps of the sweep, between two batches.
//!
//! Owns: holding the read model still at the revision of a snapshot while a range is compared and repaired. The snapshot
//! is closed before that: the feed brings the read model to exactly its revision.
//! Must not know: how a range is read, which one is next.
//! What can go wrong: PostgreSQL does not answer, or the feed does not come as far as the snapshot; the step is put off,
//! and the feed goes on.

use std::time::Duration;

use event_log::LogPosition;
use proto::UserId;
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;

use super::open::check_schema;
use super::session::Session;
use super::{Failure, TRUTH_AWAY};
use crate::apply::MAX_CHANGES;
use crate::edge::Kind;
use crate::graph::{Changes, Cursor, EdgeRange, Misplaced, PutRow};
use crate::metrics::{ACCOUNTS_REMOVED, DIFFERENCES, PASSES, RANGE_ROWS, RANGE_SECONDS, RANGES, SKIPPED};
use crate::sweep::{Job, diff};
use crate::truth;

/// Longest wait for the next event on the way to a snapshot's revision.
const FEED_PATIENCE: Duration = Duration::from_secs(15);
/// Longest wait for PostgreSQL. Events wait as well: whatever is applied meanwhile might pass the snapshot.
const TRUTH_PATIENCE: Duration = Duration::from_secs(2);
/// Most misplaced edges repaired in one transaction.
const AT_ONCE: usize = 100;

impl Session<'_> {
    /// Does the next step of the sweep.
    pub(super) async fn sweep_step(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        if self.unasked && !self.ask().await? {
            return Ok(());
        }
        if self.sweep.at_start()
            && let Ok(Ok(edges)) =
                tokio::time::timeout(TRUTH_PATIENCE, self.engine.sources.truth.estimated_edges()).await
        {
            self.sweep.estimate(edges);
        }
        match self.sweep.job() {
            Job::Range { kind, after, limit } => {
                // As many as one transaction can repair.
                let most = u32::try_from(self.engine.batch_limit.get()).unwrap_or(limit);
                self.sweep_range(kind, after, limit.min(most), stop).await
            }
            Job::Walk { after, limit } => self.sweep_walk(after, limit, stop).await,
            Job::Counts { after, limit } => self.sweep_counts(after, limit, stop).await,
        }
    }

    /// Whether the program fits the database, which could not be asked at the start. The history that it tells is compared
    /// with ours by every step. Answers false if the step was put off.
    async fn ask(&mut self) -> Result<bool, Failure> {
        let asked = tokio::time::timeout(TRUTH_PATIENCE, check_schema(&self.engine.sources.truth)).await;
        match asked {
            Ok(Ok(())) => self.unasked = false,
            Ok(Err(Failure::Retry { cause: TRUTH_AWAY, reason })) => self.put_off(&reason),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => self.put_off(&"PostgreSQL does not answer in time"),
        }
        Ok(!self.unasked)
    }

    async fn sweep_range(
        &mut self,
        kind: Kind,
        after: Option<(UserId, UserId)>,
        limit: u32,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let read = self.engine.sources.truth.edges_after(kind, after, limit);
        let Some(snapshot) = self.in_time(tokio::time::timeout(TRUTH_PATIENCE, read).await) else {
            return Ok(());
        };
        if !self.reach(snapshot.head, stop).await? {
            return Ok(());
        }
        let full = snapshot.rows.len() >= limit as usize;
        let until = snapshot.rows.last().filter(|_| full).map(|row| (row.source, row.target));
        let range = EdgeRange { kind, after, until };
        let read_limit = snapshot.rows.len() + MAX_CHANGES;
        let found = self.engine.replica.read_range(range, read_limit).await?;
        let most = self.engine.batch_limit.get();
        let difference = diff::compare(kind, &snapshot.rows, found, read_limit, most);
        let next = if difference.whole {
            self.sweep.after_range(until, snapshot.rows.len())
        } else {
            self.sweep.cursor().clone()
        };
        let (missing, extra, different) = (difference.missing, difference.extra, difference.different);
        let persist = self.persist(&next, &difference.changes).await?;
        if !difference.changes.is_empty() {
            self.found(
                &[("missing", missing), ("extra", extra), ("different", different)],
                difference.accounts,
            );
        }
        metrics::counter!(RANGES, "kind" => kind.name()).increment(1);
        metrics::counter!(RANGE_ROWS, "kind" => kind.name()).increment(snapshot.rows.len() as u64);
        metrics::histogram!(RANGE_SECONDS).record(started.elapsed());
        self.step_done(next, persist);
        Ok(())
    }

    async fn sweep_walk(
        &mut self,
        after: String,
        limit: u32,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        let Some(walk) = &mut self.walk else {
            let replica = self.engine.replica.clone();
            self.walk = Some(tokio::spawn(async move { replica.walk(&after, limit).await }));
            self.sweep.look_again(now);
            return Ok(());
        };
        if !walk.is_finished() {
            self.sweep.look_again(now);
            return Ok(());
        }
        let outcome = walk.await;
        self.walk = None;
        let walked = match outcome {
            Ok(Ok(walked)) => walked,
            // Perhaps too much was asked at once: an account may have any number of edges.
            Ok(Err(error)) => {
                self.sweep.walk_less();
                self.put_off(&error);
                return Ok(());
            }
            Err(died) => {
                self.put_off(&died);
                return Ok(());
            }
        };
        metrics::counter!(SKIPPED).increment(walked.skipped);
        for (kind, ids) in &walked.misplaced {
            if !self.examine(*kind, ids, stop).await? {
                return Ok(());
            }
        }
        let mut changes = Changes::default();
        metrics::counter!(ACCOUNTS_REMOVED, "cause" => "unused").increment(walked.unused.len() as u64);
        walked.unused.into_iter().for_each(|account| changes.remove_unused(account));
        self.sweep.walk_more();
        let next = self.sweep.after_walk(walked.last);
        let persist = self.persist(&next, &changes).await?;
        self.step_done(next, persist);
        Ok(())
    }

    /// Looks again at edges that seemed misplaced, and repairs what is wrong. Returns false if the step was put off.
    async fn examine(
        &mut self,
        kind: Kind,
        ids: &[String],
        stop: &CancellationToken,
    ) -> Result<bool, Failure> {
        for ids in ids.chunks(AT_ONCE) {
            let wrong = self.engine.replica.misplaced(kind, ids.to_vec()).await?;
            if wrong.is_empty() {
                continue;
            }
            let pairs = pairs(&wrong);
            let read = self.engine.sources.truth.edges_of(kind, &pairs);
            let Some(snapshot) = self.in_time(tokio::time::timeout(TRUTH_PATIENCE, read).await) else {
                return Ok(false);
            };
            if !self.reach(snapshot.head, stop).await? {
                return Ok(false);
            }
            let mut changes = Changes::default();
            for (source, target) in pairs {
                let row = snapshot.rows.iter().find(|row| (row.source, row.target) == (source, target));
                let (source, target) = (source.to_string(), target.to_string());
                match row {
                    Some(row) => changes.put(kind, PutRow { source, target, edge: row.edge }),
                    None => changes.delete(kind, source, target),
                }
            }
            let ids = wrong.iter().map(|edge| edge.element_id.clone()).collect();
            let cursor = self.sweep.cursor().clone();
            self.engine.replica.replace_misplaced(self.position, &cursor, kind, ids, &changes).await?;
            self.touched();
            let accounts = wrong
                .iter()
                .flat_map(|edge| [&edge.ends.0, &edge.ends.1, &edge.named.0, &edge.named.1])
                .filter(|id| !id.is_empty())
                .cloned()
                .collect();
            self.found(&[("misplaced", wrong.len() as u64)], accounts);
        }
        Ok(true)
    }

    /// Brings the read model to exactly the revision of a snapshot, visible, with nothing in flight. Answers false if
    /// the step was put off.
    pub(super) async fn reach(
        &mut self,
        head: LogPosition,
        stop: &CancellationToken,
    ) -> Result<bool, Failure> {
        if head.epoch != self.position.epoch {
            return Err(Failure::Reset { cause: "epoch", reason: "another epoch was opened".to_owned() });
        }
        while self.position.revision < head.revision {
            // It may be much that is missing.
            if stop.is_cancelled() {
                return Ok(false);
            }
            if let Some(batch) = self.gather(Some(head.revision))? {
                self.apply(batch).await?;
                continue;
            }
            self.publish(self.position.revision).await?;
            let waited = tokio::select! {
                () = stop.cancelled() => return Ok(false),
                waited = tokio::time::timeout(FEED_PATIENCE, self.wait()) => waited,
            };
            match waited {
                Ok(received) => received?,
                Err(_) => {
                    self.put_off(&"the feed does not come as far as the snapshot");
                    return Ok(false);
                }
            }
        }
        // With a part of the event after the snapshot, the read model is at no revision.
        let applied = self.reaches();
        if !self.engine.lag.tolerates(applied, head.revision, Instant::now()) {
            return Err(Failure::lost_commits(applied, head.revision));
        }
        if applied > head.revision {
            self.put_off(&"the snapshot is older than the read model: PostgreSQL lags");
            return Ok(false);
        }
        if head.contradicts(&self.position) {
            return Err(Failure::Reset {
                cause: "contradicted",
                reason: format!("PostgreSQL has another event at revision {}", head.revision),
            });
        }
        self.publish(self.position.revision).await?;
        Ok(true)
    }

    /// Writes repairs and progress, if there is reason to. Answers whether it did.
    async fn persist(&mut self, next: &Cursor, changes: &Changes) -> Result<bool, Failure> {
        if changes.is_empty() && !self.sweep.should_persist(next, Instant::now()) {
            return Ok(false);
        }
        if let Err(error) = self.engine.replica.repair(self.position, next, changes).await {
            if error.may_be_size() && changes.edges() > 0 {
                self.engine.batch_limit.failed(changes.edges());
            }
            return Err(error.into());
        }
        self.engine.batch_limit.applied(changes.edges());
        self.touched();
        Ok(true)
    }

    /// Ends a step that repaired nothing.
    pub(super) async fn step(&mut self, next: Cursor) -> Result<(), Failure> {
        let persisted = self.persist(&next, &Changes::default()).await?;
        self.step_done(next, persisted);
        Ok(())
    }

    fn step_done(&mut self, next: Cursor, persisted: bool) {
        let was_complete = self.sweep.complete();
        if self.sweep.done(next, persisted, Instant::now()) {
            metrics::counter!(PASSES).increment(1);
            tracing::debug!("the sweep has made a pass");
        }
        if !was_complete && self.sweep.complete() {
            tracing::info!(
                revision = self.position.revision.0,
                rows = self.sweep.cursor().rows,
                "the read model is complete"
            );
        }
        self.note();
    }

    /// Tells of differences; those of the first build are none.
    fn found(&self, causes: &[(&'static str, u64)], accounts: Vec<String>) {
        if !self.sweep.complete() {
            return;
        }
        let mut sum = 0;
        for (cause, count) in causes {
            metrics::counter!(DIFFERENCES, "cause" => *cause).increment(*count);
            sum += count;
        }
        tracing::warn!(
            ?causes,
            revision = self.position.revision.0,
            "the read model differed and was repaired"
        );
        let board = &self.engine.sources.board;
        let now = self.engine.now();
        board.change(|status| {
            status.differences += sum;
            status.differences_at = Some(now);
        });
        board.repaired(accounts);
    }

    /// What was read; none if the step is put off because there is nothing.
    pub(super) fn in_time<T>(&mut self, read: Result<Result<T, truth::Error>, Elapsed>) -> Option<T> {
        match read {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => self.put_off(&error),
            Err(_) => self.put_off(&"PostgreSQL does not answer in time"),
        }
        None
    }

    fn put_off(&mut self, reason: &impl std::fmt::Display) {
        tracing::info!(%reason, "a step of the sweep is put off");
        self.sweep.postpone(Instant::now());
    }
}

/// The pairs that misplaced edges connect or claim to connect, as far as they are pairs of accounts.
fn pairs(wrong: &[Misplaced]) -> Vec<(UserId, UserId)> {
    let mut pairs: Vec<_> = wrong
        .iter()
        .flat_map(|edge| [&edge.ends, &edge.named])
        .filter_map(|(source, target)| UserId::parse(source).ok().zip(UserId::parse(target).ok()))
        .filter(|(source, target)| source != target)
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}
