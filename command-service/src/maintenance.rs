//! Upkeep: makes partitions of the outbox and of the idempotency records ahead of time, drops old ones, and deletes jobs
//! that ended long ago.
//!
//! The outbox heals the stream and slow projectors, so it is kept for as long as the stream keeps its messages, and no
//! partition goes that the relay, or a projector heard of within two weeks, still needs. Nothing is dropped while
//! PostgreSQL's clock is not trusted.

use std::sync::Arc;
use std::time::Duration;

use proto::Revision;
use proto::graph::v1::StreamState;
use service_kit::clock::{Clock as _, SystemClock};
use service_kit::telemetry::chain;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::DatabaseClock;
use crate::metrics;
use crate::relay::Standing;
use crate::store::partitions::{self, Parent};
use crate::store::{head, jobs, outbox, projectors, within};

/// How many days ahead partitions are made.
const DAYS_AHEAD: i32 = 7;
/// How long an idempotency record is kept at least.
const REPLIES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// PostgreSQL refuses to drop what is younger.
const KEPT_AT_LEAST: Duration = Duration::from_secs(24 * 3600);
/// A projector that was silent for longer holds nothing up; it will sweep.
const PROJECTOR_CAP: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long an ended job is shown.
const JOBS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often partitions are looked for.
const PERIOD: Duration = Duration::from_secs(60);
/// The same while there is none for today, and every write fails.
const URGENT: Duration = Duration::from_secs(1);
/// How often old ones are dropped.
const DROP_PERIOD: Duration = Duration::from_secs(3600);
/// The same while something, a dump for one, has a lock that dropping conflicts with: each attempt holds up writes for as
/// long as it waits.
const LOCKED_PERIOD: Duration = Duration::from_secs(600);
/// The same while the position of the stream is not known, the clock is not trusted, or it failed. Also how long after a
/// look at the partitions that failed the next one is.
const RETRY_PERIOD: Duration = Duration::from_secs(10);

/// Why a write may find no partition.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// PostgreSQL was asked, and cannot make it.
    #[error("there are no partitions for today")]
    Today(#[source] sqlx::Error),
    /// PostgreSQL could not be asked.
    #[error("cannot look at the partitions")]
    Unknown(#[source] sqlx::Error),
}

impl Missing {
    /// The error of PostgreSQL, or of the connection.
    pub fn cause(&self) -> &sqlx::Error {
        match self {
            Self::Today(error) | Self::Unknown(error) => error,
        }
    }
}

/// The upkeep of one process. All processes do it.
pub struct Upkeep {
    /// For its transactions.
    pub pool: PgPool,
    /// How long the outbox is kept at least.
    pub outbox_kept: Duration,
    /// The state of the stream.
    pub standing: watch::Receiver<Standing>,
    /// Whether anything may be dropped.
    pub clock: DatabaseClock,
    /// Notified when a write found no partition.
    pub partitions: Arc<Notify>,
}

impl Upkeep {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), sqlx::Error> {
        let mut next_drop = Instant::now();
        loop {
            let period = match make_partitions(&self.pool).await {
                Ok(()) => PERIOD,
                Err(error @ Missing::Today(_)) => {
                    tracing::error!(error = %chain(&error), "writes fail");
                    URGENT
                }
                Err(error @ Missing::Unknown(_)) => {
                    tracing::warn!(error = %chain(&error), "cannot make partitions yet");
                    RETRY_PERIOD
                }
            };
            if Instant::now() >= next_drop {
                let published = published(&self.standing.borrow());
                let tidied = self.tidy(published).await;
                let pause = match &tidied {
                    Ok(Some(_)) if published.is_some() => DROP_PERIOD,
                    Err(error) if waits_for_lock(error) => LOCKED_PERIOD,
                    _ => RETRY_PERIOD,
                };
                match tidied {
                    Ok(None | Some((0, 0))) => {}
                    Ok(Some((events, replies))) => tracing::info!(events, replies, "dropped old partitions"),
                    Err(error) => tracing::warn!(error = %chain(&error), "cannot drop old partitions"),
                }
                next_drop = Instant::now() + pause;
            }
            tokio::select! {
                () = tokio::time::sleep(period) => {}
                () = tokio::time::sleep_until(next_drop) => {}
                () = self.partitions.notified() => tracing::warn!("a write found no partition"),
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Deletes what is old enough; returns how many partitions of the outbox and of the replies went, or none while the
    /// clock is not trusted. While it is not known what is published, no event is dropped.
    async fn tidy(&self, published: Option<Revision>) -> Result<Option<(i32, i32)>, sqlx::Error> {
        let mut connection = service_kit::postgres::acquire(&self.pool).await?;
        let Some(now) = within(self.clock.trusted_now(&mut connection)).await? else { return Ok(None) };
        within(jobs::forget_ended(&mut connection, JOBS_KEPT)).await?;
        let before = now - REPLIES_KEPT;
        let replies = within(partitions::drop_before(&mut connection, Parent::Replies, before, None)).await?;
        let Some(published) = published else { return Ok(Some((0, replies))) };
        let keep_from = within(keep_from(&mut connection, published)).await?;
        let before = now - self.outbox_kept.max(KEPT_AT_LEAST);
        let events =
            within(partitions::drop_before(&mut connection, Parent::Outbox, before, Some(keep_from))).await?;
        Ok(Some((events, replies)))
    }
}

/// It gave up waiting for a lock (lock_not_available).
fn waits_for_lock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

/// The newest revision in the stream. A stream that is missing, or holds what is not ours, will be made again from the
/// outbox and needs all of it.
fn published(standing: &Standing) -> Option<Revision> {
    standing.seen.then_some(match standing.state {
        StreamState::Ok | StreamState::Unreachable => standing.last,
        _ => Revision::ZERO,
    })
}

/// The oldest revision that the stream or a projector still needs. What lies before the oldest row cannot be had from
/// the outbox any more: for the stream, all of it is kept, and a projector that needs it does not count.
async fn keep_from(connection: &mut PgConnection, published: Revision) -> Result<Revision, sqlx::Error> {
    let head = head::get(connection).await?;
    let oldest = outbox::oldest(connection).await?.unwrap_or(head.revision.next());
    let slowest = projectors::slowest(connection, head.epoch, PROJECTOR_CAP, oldest).await?;
    Ok(published.min(slowest.unwrap_or(published)).next())
}

/// Makes partitions for the coming days. Fails only if there is none for today, or if PostgreSQL cannot be asked.
pub async fn make_partitions(pool: &PgPool) -> Result<(), Missing> {
    let mut connection = service_kit::postgres::acquire(pool).await.map_err(Missing::Unknown)?;
    let mut outcome = Ok(());
    for parent in Parent::ALL {
        let ensured = within(partitions::ensure(&mut connection, parent, DAYS_AHEAD)).await;
        if let Err(error) = &ensured {
            ::metrics::counter!(metrics::PARTITIONS_FAILED, "parent" => parent.name()).increment(1);
            tracing::warn!(error = %chain(error), %parent, "cannot make partitions now");
        }
        let days = within(partitions::days_ahead(&mut connection, parent)).await.map_err(Missing::Unknown)?;
        ::metrics::gauge!(metrics::PARTITION_DAYS_AHEAD, "parent" => parent.name()).set(f64::from(days));
        if days < 0 {
            outcome = outcome.and(ensured.map(|_| ()).map_err(Missing::Today));
        }
    }
    ::metrics::gauge!(metrics::PARTITIONS_LOOKED_AT).set(SystemClock.now().unix_timestamp() as f64);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_will_be_made_again_needs_all() {
        let standing = |state, seen| Standing { state, last: Revision(9), seen, ..Standing::default() };
        assert_eq!(published(&standing(StreamState::Ok, true)), Some(Revision(9)));
        assert_eq!(published(&standing(StreamState::Unreachable, true)), Some(Revision(9)));
        assert_eq!(published(&standing(StreamState::Repairing, true)), Some(Revision::ZERO));
        assert_eq!(published(&standing(StreamState::Forked, true)), Some(Revision::ZERO));
        assert_eq!(published(&standing(StreamState::Ok, false)), None);
    }
}
