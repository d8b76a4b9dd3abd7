//! The parts that the steps of the sweep have in common.

use std::time::Duration;

use event_log::LogPosition;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::projection::Projection;
use crate::graph::{Changes, Cursor};
use crate::metrics::{DIFFERENCES, PASSES};
use crate::truth;

/// Timeout of the next event on the way to a snapshot's revision.
const FEED_TIMEOUT: Duration = Duration::from_secs(15);

/// Brings the read model to exactly the revision of a snapshot, visible, with nothing under way. Returns false if the
/// step is postponed.
pub(super) async fn reach(
    projection: &mut Projection<'_>,
    head: LogPosition,
    stop: &CancellationToken,
) -> Result<bool, Failure> {
    if head.epoch != projection.position.epoch {
        return Err(Failure::Reset { cause: "epoch", reason: "another epoch was opened".to_owned() });
    }
    while projection.position.revision < head.revision {
        // Many events may be missing.
        if stop.is_cancelled() {
            return Ok(false);
        }
        if let Some(batch) = projection.gather(Some(head.revision))? {
            projection.apply(batch).await?;
            continue;
        }
        projection.publish_applied().await?;
        let waited = tokio::select! {
            () = stop.cancelled() => return Ok(false),
            waited = timeout(FEED_TIMEOUT, projection.wait()) => waited,
        };
        match waited {
            Ok(received) => received?,
            Err(_) => {
                postpone(projection, &"the feed does not come as far as the snapshot");
                return Ok(false);
            }
        }
    }
    // While an event is applied in part, the read model is at no revision.
    let applied = projection.reaches();
    if !projection.shared.lag.tolerates(applied, head.revision, Instant::now()) {
        return Err(Failure::lost_commits(applied, head.revision));
    }
    if applied > head.revision {
        postpone(projection, &"the snapshot is older than the read model: PostgreSQL lags");
        return Ok(false);
    }
    if head.contradicts(&projection.position) {
        return Err(Failure::Reset {
            cause: "contradicted",
            reason: format!("PostgreSQL has another event at revision {}", head.revision),
        });
    }
    projection.publish_applied().await?;
    Ok(true)
}

/// Writes repairs and progress if there are repairs or the last written progress is old. Returns true if it wrote.
pub(super) async fn persist(
    projection: &mut Projection<'_>,
    next: &Cursor,
    changes: &Changes,
) -> Result<bool, Failure> {
    let shared = projection.shared;
    if changes.is_empty() && !projection.sweep.should_persist(next, Instant::now()) {
        return Ok(false);
    }
    if let Err(error) = shared.replica.repair(projection.position, next, changes).await {
        if error.may_be_size() && changes.edges() > 0 {
            shared.batch_limit.failed(changes.edges());
        }
        return Err(error.into());
    }
    shared.batch_limit.applied(changes.edges());
    projection.touched();
    // Readers skip an incomplete read model, so its repairs are published together at the end.
    if next.complete && (changes.edges() > 0 || !projection.sweep.complete()) {
        projection.repaired();
    }
    Ok(true)
}

/// Ends a step without repairs.
pub(super) async fn end_step(projection: &mut Projection<'_>, next: Cursor) -> Result<(), Failure> {
    let persisted = persist(projection, &next, &Changes::default()).await?;
    step_done(projection, next, persisted);
    Ok(())
}

pub(super) fn step_done(projection: &mut Projection<'_>, next: Cursor, persisted: bool) {
    let was_complete = projection.sweep.complete();
    if projection.sweep.done(next, persisted, Instant::now()) {
        metrics::counter!(PASSES).increment(1);
        tracing::debug!("the sweep has made a pass");
    }
    if !was_complete && projection.sweep.complete() {
        tracing::info!(
            revision = projection.position.revision.0,
            rows = projection.sweep.cursor().rows,
            "the read model is complete"
        );
    }
    projection.report();
}

/// Counts and logs differences, and announces their accounts. The first build has none.
pub(super) fn report_differences(
    projection: &Projection<'_>,
    causes: &[(&'static str, u64)],
    accounts: Vec<String>,
) {
    if !projection.sweep.complete() {
        return;
    }
    let mut sum = 0;
    for (cause, count) in causes {
        metrics::counter!(DIFFERENCES, "cause" => *cause).increment(*count);
        sum += count;
    }
    let revision = projection.position.revision.0;
    tracing::warn!(?causes, revision, "the read model differed and was repaired");
    let (board, now) = (&projection.shared.sources.board, projection.shared.now());
    board.change(|status| {
        status.differences += sum;
        status.differences_at = Some(now);
    });
    board.repaired(accounts);
}

/// The value that was read; without one the step is postponed.
pub(super) fn read_or_postpone<T>(
    projection: &mut Projection<'_>,
    read: Result<Result<T, truth::Error>, Elapsed>,
) -> Option<T> {
    match read {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(error)) => postpone(projection, &error),
        Err(_) => postpone(projection, &"PostgreSQL does not answer in time"),
    }
    None
}

pub(super) fn postpone(projection: &mut Projection<'_>, reason: &impl std::fmt::Display) {
    tracing::info!(%reason, "a step of the sweep is put off");
    projection.sweep.postpone(Instant::now());
}
