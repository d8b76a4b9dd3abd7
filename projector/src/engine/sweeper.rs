//! Steps of the sweep, between two batches.
//!
//! A step reads a range and the head from one short snapshot of PostgreSQL, brings the read model to exactly that
//! revision, then compares and repairs. If PostgreSQL does not answer, or the feed does not reach the snapshot, the
//! step is postponed.

use std::time::Duration;

use proto::UserId;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::counts::{Tally, differences};
use super::failure::{Failure, TRUTH_AWAY};
use super::open::check_schema;
use super::projection::Projection;
use super::step::{end_step, persist, postpone, reach, read_or_postpone, report_differences, step_done};
use crate::apply::MAX_CHANGES;
use crate::edge::Kind;
use crate::graph::{self, Changes, EdgeRange, Misplaced, PutRow, Walked};
use crate::metrics::{ACCOUNTS_REMOVED, RANGE_ROWS, RANGE_SECONDS, RANGES, SKIPPED};
use crate::sweep::{Job, diff};

/// Timeout of PostgreSQL. No event is applied meanwhile, since it might pass the snapshot.
const TRUTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit of the misplaced edges repaired in one transaction.
const MAX_MISPLACED: usize = 100;

/// Runs the steps of the sweep.
pub(super) struct Sweeper {
    /// PostgreSQL was down when the read model was opened, so its schema was not checked.
    unchecked: bool,
    counts: Tally,
    /// A stretch of the walk, read while events are applied.
    walk: Option<JoinHandle<Result<Walked, graph::Error>>>,
}

impl Sweeper {
    pub(super) fn new(unchecked: bool) -> Self {
        Self { unchecked, counts: Tally::default(), walk: None }
    }

    /// Runs the next step.
    pub(super) async fn step(
        &mut self,
        projection: &mut Projection<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let shared = projection.shared;
        if self.unchecked && !self.check(projection).await? {
            return Ok(());
        }
        if projection.sweep.at_start()
            && let Ok(Ok(edges)) = timeout(TRUTH_TIMEOUT, shared.sources.truth.estimated_edges()).await
        {
            projection.sweep.estimate(edges);
        }
        match projection.sweep.job() {
            Job::Range { kind, after, limit } => {
                // As many edges as one transaction can repair.
                let most = u32::try_from(shared.batch_limit.get()).unwrap_or(limit);
                compare_range(projection, kind, after, limit.min(most), stop).await
            }
            Job::Walk { after, limit } => self.walk(projection, after, limit, stop).await,
            Job::Counts { after, limit } => self.compare_counts(projection, after, limit, stop).await,
        }
    }

    /// Makes the check of the schema that was not possible when the read model was opened. Every step compares the
    /// history. Returns false if the step is postponed.
    async fn check(&mut self, projection: &mut Projection<'_>) -> Result<bool, Failure> {
        match timeout(TRUTH_TIMEOUT, check_schema(&projection.shared.sources.truth)).await {
            Ok(Ok(())) => self.unchecked = false,
            Ok(Err(Failure::Retry { cause: TRUTH_AWAY, reason })) => postpone(projection, &reason),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => postpone(projection, &"PostgreSQL does not answer in time"),
        }
        Ok(!self.unchecked)
    }

    async fn walk(
        &mut self,
        projection: &mut Projection<'_>,
        after: String,
        limit: u32,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        let Some(walk) = &mut self.walk else {
            let replica = projection.shared.replica.clone();
            self.walk = Some(tokio::spawn(async move { replica.walk(&after, limit).await }));
            projection.sweep.look_again(now);
            return Ok(());
        };
        if !walk.is_finished() {
            projection.sweep.look_again(now);
            return Ok(());
        }
        let outcome = walk.await;
        self.walk = None;
        let walked = match outcome {
            Ok(Ok(walked)) => walked,
            // The step may have been too large: an account may have any number of edges.
            Ok(Err(error)) => {
                projection.sweep.walk_less();
                postpone(projection, &error);
                return Ok(());
            }
            Err(died) => {
                postpone(projection, &died);
                return Ok(());
            }
        };
        metrics::counter!(SKIPPED).increment(walked.skipped);
        for (kind, ids) in &walked.misplaced {
            if !repair_misplaced(projection, *kind, ids, stop).await? {
                return Ok(());
            }
        }
        let mut changes = Changes::default();
        metrics::counter!(ACCOUNTS_REMOVED, "cause" => "unused").increment(walked.unused.len() as u64);
        walked.unused.into_iter().for_each(|account| changes.remove_unused(account));
        projection.sweep.walk_more();
        let next = projection.sweep.after_walk(walked.last);
        let persisted = persist(projection, &next, &changes).await?;
        step_done(projection, next, persisted);
        Ok(())
    }

    /// Compares the counts of the first `limit` accounts after one.
    async fn compare_counts(
        &mut self,
        projection: &mut Projection<'_>,
        after: Option<UserId>,
        limit: u32,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let shared = projection.shared;
        let read = timeout(TRUTH_TIMEOUT, shared.sources.truth.counts_after(after, limit)).await;
        let Some((head, counted)) = read_or_postpone(projection, read) else {
            if self.counts.failed() {
                let next = projection.sweep.after_counts(None);
                end_step(projection, next).await?;
            }
            return Ok(());
        };
        if !reach(projection, head, stop).await? {
            return Ok(());
        }
        // A range that is not full is the last one: later nodes of the read model belong to no account.
        let last = counted.last.filter(|_| counted.accounts >= i64::from(limit));
        let text = |user: UserId| user.to_string();
        let (from, to) = (after.map(text).unwrap_or_default(), last.map(text));
        let found = shared.replica.degrees(&from, to.as_deref()).await?;
        projection.touched();
        let of = differences(&counted, &found);
        if of.iter().any(|difference| *difference > 0) {
            // Without the range: ids stay out of the logs.
            tracing::warn!(differences = ?of, revision = head.revision.0, "the counts of the stores differ");
        }
        self.counts.add(of);
        if last.is_none() {
            self.counts.finish(shared.now().unix_timestamp());
        }
        let next = projection.sweep.after_counts(last);
        end_step(projection, next).await
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // The walk only reads; its exchange runs to its end in a task of its own.
        if let Some(walk) = self.walk.take() {
            walk.abort();
        }
    }
}

async fn compare_range(
    projection: &mut Projection<'_>,
    kind: Kind,
    after: Option<(UserId, UserId)>,
    limit: u32,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let shared = projection.shared;
    let started = Instant::now();
    let read = timeout(TRUTH_TIMEOUT, shared.sources.truth.edges_after(kind, after, limit)).await;
    let Some(snapshot) = read_or_postpone(projection, read) else { return Ok(()) };
    if !reach(projection, snapshot.head, stop).await? {
        return Ok(());
    }
    let full = snapshot.rows.len() >= limit as usize;
    let until = snapshot.rows.last().filter(|_| full).map(|row| (row.source, row.target));
    let range = EdgeRange { kind, after, until };
    let read_limit = snapshot.rows.len() + MAX_CHANGES;
    let found = shared.replica.read_range(range, read_limit).await?;
    let difference = diff::compare(kind, &snapshot.rows, found, read_limit, shared.batch_limit.get());
    let next = if difference.whole {
        projection.sweep.after_range(until, snapshot.rows.len())
    } else {
        projection.sweep.cursor().clone()
    };
    let (missing, extra, different) = (difference.missing, difference.extra, difference.different);
    let persisted = persist(projection, &next, &difference.changes).await?;
    if !difference.changes.is_empty() {
        let causes = [("missing", missing), ("extra", extra), ("different", different)];
        report_differences(projection, &causes, difference.accounts);
    }
    metrics::counter!(RANGES, "kind" => kind.name()).increment(1);
    metrics::counter!(RANGE_ROWS, "kind" => kind.name()).increment(snapshot.rows.len() as u64);
    metrics::histogram!(RANGE_SECONDS).record(started.elapsed());
    step_done(projection, next, persisted);
    Ok(())
}

/// Reads edges that seemed misplaced again, and repairs those that are. Returns false if the step is postponed.
async fn repair_misplaced(
    projection: &mut Projection<'_>,
    kind: Kind,
    ids: &[String],
    stop: &CancellationToken,
) -> Result<bool, Failure> {
    let shared = projection.shared;
    for ids in ids.chunks(MAX_MISPLACED) {
        let wrong = shared.replica.misplaced(kind, ids.to_vec()).await?;
        if wrong.is_empty() {
            continue;
        }
        let pairs = pairs(&wrong);
        let read = timeout(TRUTH_TIMEOUT, shared.sources.truth.edges_of(kind, &pairs)).await;
        let Some(snapshot) = read_or_postpone(projection, read) else { return Ok(false) };
        if !reach(projection, snapshot.head, stop).await? {
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
        let cursor = projection.sweep.cursor().clone();
        shared.replica.replace_misplaced(projection.position, &cursor, kind, ids, &changes).await?;
        projection.touched();
        projection.repaired();
        let accounts = wrong
            .iter()
            .flat_map(|edge| [&edge.ends.0, &edge.ends.1, &edge.named.0, &edge.named.1])
            .filter(|id| !id.is_empty())
            .cloned()
            .collect();
        report_differences(projection, &[("misplaced", wrong.len() as u64)], accounts);
    }
    Ok(true)
}

/// The pairs of accounts that misplaced edges connect, or name in their values.
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
