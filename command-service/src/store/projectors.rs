//! The projectors heard of, so that the outbox is not pruned ahead of them.

use std::time::Duration;

use proto::{Epoch, Revision};
use sqlx::PgConnection;

/// Notes how far a projector has come, unless it follows a later epoch: that of another database.
pub async fn put(
    connection: &mut PgConnection,
    name: &str,
    epoch: Epoch,
    revision: Revision,
) -> Result<(), sqlx::Error> {
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

/// The revision of the slowest projector of the epoch that was heard of within that
/// time; none if there is none. One that needs what is before `oldest` cannot be helped by the outbox: it sweeps.
pub async fn slowest(
    connection: &mut PgConnection,
    epoch: Epoch,
    within: Duration,
    oldest: Revision,
) -> Result<Option<Revision>, sqlx::Error> {
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
