//! Records the progress of projectors, so that the outbox keeps the events that they need.

use std::time::Duration;

use proto::{Epoch, Revision};
use sqlx::PgConnection;

/// Records the revision of a projector. Ignores one of a later epoch: it follows another database.
pub async fn put(
    connection: &mut PgConnection,
    name: &str,
    epoch: Epoch,
    revision: Revision,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- projectors_put
         INSERT INTO projectors (name, epoch, revision, seen_at)
         SELECT $1, $2, $3, now() FROM log_lock WHERE epoch >= $2
         ON CONFLICT (name) DO UPDATE
         SET epoch = excluded.epoch, revision = excluded.revision, seen_at = excluded.seen_at",
    )
    .bind(name)
    .bind(epoch.as_i64())
    .bind(revision.as_i64())
    .execute(connection)
    .await
    .map(|_| ())
}

/// Returns the revision of the slowest projector of the epoch that was seen within that time; `None` if there is none.
/// Ignores a projector that needs a revision before `oldest`, the first one of the outbox: it must sweep.
pub async fn slowest(
    connection: &mut PgConnection,
    epoch: Epoch,
    within: Duration,
    oldest: Revision,
) -> sqlx::Result<Option<Revision>> {
    let revision: Option<i64> = sqlx::query_scalar(
        "-- projectors_slowest
         SELECT min(revision) FROM projectors
         WHERE epoch = $1 AND seen_at > now() - make_interval(secs => $2) AND revision >= $3 - 1",
    )
    .bind(epoch.as_i64())
    .bind(within.as_secs_f64())
    .bind(oldest.as_i64())
    .fetch_one(connection)
    .await?;
    Ok(revision.map(Revision::from_i64))
}
