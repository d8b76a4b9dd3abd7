//! Partitions of the outbox and of the idempotency records: made ahead, dropped late.
//! And jobs that ended long ago: forgotten.
//!
//! The outbox is what heals the stream and slow projectors, so it is kept for as
//! long as the stream keeps its messages, and never pruned ahead of the relay or of
//! the slowest projector heard of within two weeks.

use std::time::Duration;

use proto::Revision;
use service_kit::telemetry::chain;
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::relay::Standing;
use crate::store::{head, jobs, outbox, projectors};

/// How many days ahead partitions are made.
pub const DAYS_AHEAD: i32 = 7;
/// How long an idempotency record is kept at least.
const REPLIES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// A projector that was silent for longer holds nothing up; it will sweep.
const PROJECTOR_CAP: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long an ended job is told of.
const JOBS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
const PERIOD: Duration = Duration::from_secs(3600);
/// The same, until it is known how far the stream is.
const FIRST_PERIOD: Duration = Duration::from_secs(10);

/// Tidies at once and every hour until `stop`.
pub async fn run(
    pool: PgPool,
    outbox_kept: Duration,
    standing: watch::Receiver<Standing>,
    stop: CancellationToken,
) -> Result<(), sqlx::Error> {
    loop {
        let published = {
            let standing = standing.borrow();
            standing.seen.then_some(standing.last)
        };
        match tidy(&pool, outbox_kept, published).await {
            Ok((0, 0)) => {}
            Ok((events, replies)) => tracing::info!(events, replies, "dropped old partitions"),
            Err(error) => tracing::warn!(error = %chain(&error), "cannot tidy the partitions"),
        }
        let period = if published.is_some() { PERIOD } else { FIRST_PERIOD };
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Where it is not known what is published, no event is dropped.
async fn tidy(
    pool: &PgPool,
    outbox_kept: Duration,
    published: Option<Revision>,
) -> Result<(i32, i32), sqlx::Error> {
    let mut connection = service_kit::postgres::acquire(pool).await?;
    if let Err(error) = outbox::ensure_partitions(&mut connection, DAYS_AHEAD).await {
        // There are some for days to come; the next hour may be a better one.
        tracing::warn!(error = %chain(&error), "cannot make partitions now");
    }
    jobs::forget_ended(&mut connection, JOBS_KEPT).await?;
    let replies = outbox::drop_partitions(&mut connection, "replies", REPLIES_KEPT).await?;
    let Some(published) = published else { return Ok((0, replies)) };
    let needed = needed_for(&mut connection, published).await?;
    let events = outbox::drop_partitions(&mut connection, "outbox", outbox_kept.max(needed)).await?;
    Ok((events, replies))
}

/// The age of the oldest event that somebody still needs.
async fn needed_for(connection: &mut PgConnection, published: Revision) -> Result<Duration, sqlx::Error> {
    let head = head::get(connection).await?;
    let slowest = projectors::slowest(connection, head.epoch, PROJECTOR_CAP).await?;
    let keep_from = published.min(slowest.unwrap_or(published)).next();
    let committed_at = outbox::committed_at(connection, keep_from).await?;
    Ok(committed_at.map(|at| Duration::try_from(head.now - at).unwrap_or_default()).unwrap_or_default())
}
