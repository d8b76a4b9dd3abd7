//! Creates partitions of the outbox and of the idempotency records ahead of time, drops old ones, and deletes old jobs.
//!
//! The stream and slow projectors are repaired from the outbox, so it is kept as long as the stream keeps its messages.
//! A partition stays if the relay, or a projector that was active in the last two weeks, still needs it. Nothing is
//! dropped while PostgreSQL's clock is not trusted.

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
use crate::relay::StreamStatus;
use crate::store::partitions::{self, Parent};
use crate::store::{head, jobs, outbox, projectors, within};

/// Partitions are created this many days ahead.
const DAYS_AHEAD: i32 = 7;
/// Minimum age of a dropped idempotency record.
const REPLIES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Minimum age of a dropped event; `drop_partitions` refuses younger ones.
const OUTBOX_KEPT_AT_LEAST: Duration = Duration::from_secs(24 * 3600);
/// A projector that was silent for longer does not keep events. It will sweep.
const PROJECTOR_TIMEOUT: Duration = Duration::from_secs(14 * 24 * 3600);
/// GetJob returns ended jobs for this time.
const JOBS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Interval of the creation of partitions.
const CREATE_INTERVAL: Duration = Duration::from_secs(60);
/// The same while today's partition is missing, and every write fails.
const URGENT_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of the drop of old partitions.
const DROP_INTERVAL: Duration = Duration::from_secs(3600);
/// The same after a lock timeout, for example because of a dump. Each attempt blocks writes while it waits for the
/// lock.
const LOCKED_INTERVAL: Duration = Duration::from_secs(600);
/// The same after any other failure, and while the position of the stream is not known or the clock is not trusted.
/// Also the interval after a failed creation.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Why today's partition may be missing.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// PostgreSQL cannot create it.
    #[error("there are no partitions for today")]
    Today(#[source] sqlx::Error),
    /// PostgreSQL does not answer.
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

/// The maintenance by one process. All processes do it.
pub struct Maintenance {
    /// Connections for its transactions.
    pub pool: PgPool,
    /// Minimum age of dropped events.
    pub outbox_kept: Duration,
    /// The state of the stream.
    pub stream: watch::Receiver<StreamStatus>,
    /// Nothing is dropped while it is not trusted.
    pub clock: DatabaseClock,
    /// Notified when a write finds no partition.
    pub partitions: Arc<Notify>,
}

impl Maintenance {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> sqlx::Result<()> {
        let mut next_drop = Instant::now();
        loop {
            let period = match make_partitions(&self.pool).await {
                Ok(()) => CREATE_INTERVAL,
                Err(error @ Missing::Today(_)) => {
                    tracing::error!(error = %chain(&error), "writes fail");
                    URGENT_INTERVAL
                }
                Err(error @ Missing::Unknown(_)) => {
                    tracing::warn!(error = %chain(&error), "a look at the partitions failed");
                    RETRY_INTERVAL
                }
            };
            if Instant::now() >= next_drop {
                let published = published(&self.stream.borrow());
                let dropped = self.drop_old(published).await;
                let pause = match &dropped {
                    Ok(Some(_)) if published.is_some() => DROP_INTERVAL,
                    Err(error) if waits_for_lock(error) => LOCKED_INTERVAL,
                    _ => RETRY_INTERVAL,
                };
                match dropped {
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

    /// Returns how many partitions of the outbox and of the replies were dropped; `None` while the clock is not
    /// trusted. Drops no event while `published` is not known.
    async fn drop_old(&self, published: Option<Revision>) -> sqlx::Result<Option<(i32, i32)>> {
        let mut connection = service_kit::postgres::acquire(&self.pool).await?;
        let Some(now) = within(self.clock.trusted_now(&mut connection)).await? else { return Ok(None) };
        within(jobs::delete_ended(&mut connection, JOBS_KEPT)).await?;
        let before = now - REPLIES_KEPT;
        let replies = within(partitions::drop_before(&mut connection, Parent::Replies, before, None)).await?;
        let Some(published) = published else { return Ok(Some((0, replies))) };
        let keep_from = within(keep_from(&mut connection, published)).await?;
        let before = now - self.outbox_kept.max(OUTBOX_KEPT_AT_LEAST);
        let events =
            within(partitions::drop_before(&mut connection, Parent::Outbox, before, Some(keep_from))).await?;
        Ok(Some((events, replies)))
    }
}

/// Whether a statement ran into the lock timeout (lock_not_available).
fn waits_for_lock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

/// The newest revision in the stream; `None` if it is not known. A stream that does not exist or is not ours will be
/// made again from the outbox, and needs all of it.
fn published(stream: &StreamStatus) -> Option<Revision> {
    stream.seen.then_some(match stream.state {
        StreamState::Ok | StreamState::Unreachable => stream.last,
        _ => Revision::ZERO,
    })
}

/// The oldest revision that the stream or a projector still needs. A projector that needs a revision before the oldest
/// row does not count: the outbox cannot help it.
async fn keep_from(connection: &mut PgConnection, published: Revision) -> sqlx::Result<Revision> {
    let head = head::get(connection).await?;
    let oldest = outbox::oldest(connection).await?.unwrap_or(head.revision.next());
    let slowest = projectors::slowest(connection, head.epoch, PROJECTOR_TIMEOUT, oldest).await?;
    Ok(published.min(slowest.unwrap_or(published)).next())
}

/// Creates partitions for the coming days. Fails only if today's is missing, or if PostgreSQL does not answer.
pub async fn make_partitions(pool: &PgPool) -> Result<(), Missing> {
    let mut connection = service_kit::postgres::acquire(pool).await.map_err(Missing::Unknown)?;
    let mut outcome = Ok(());
    for parent in Parent::ALL {
        let ensured = within(partitions::ensure(&mut connection, parent, DAYS_AHEAD)).await;
        if let Err(error) = &ensured {
            ::metrics::counter!(metrics::PARTITIONS_FAILED, "parent" => parent.name()).increment(1);
            tracing::warn!(error = %chain(error), parent = %parent.name(), "cannot create partitions");
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
    fn a_stream_that_is_made_again_needs_the_whole_outbox() {
        let stream = |state, seen| StreamStatus { state, last: Revision(9), seen, ..StreamStatus::default() };
        assert_eq!(published(&stream(StreamState::Ok, true)), Some(Revision(9)));
        assert_eq!(published(&stream(StreamState::Unreachable, true)), Some(Revision(9)));
        assert_eq!(published(&stream(StreamState::Repairing, true)), Some(Revision::ZERO));
        assert_eq!(published(&stream(StreamState::Forked, true)), Some(Revision::ZERO));
        assert_eq!(published(&stream(StreamState::Ok, false)), None);
    }
}
