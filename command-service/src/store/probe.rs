//! Tests whether rows can be inserted.

use sqlx::{Connection as _, PgConnection};

/// Inserts an idempotency record and an event, as a command does, and rolls them back. They are never visible.
pub async fn insert_and_roll_back(connection: &mut PgConnection) -> sqlx::Result<()> {
    // In a transaction, begin makes a savepoint.
    let mut savepoint = connection.begin().await?;
    sqlx::query(
        "-- probe_replies
         INSERT INTO replies (actor_id, request_id, fingerprint, response, created_at)
         VALUES (gen_random_uuid(), gen_random_uuid(), '', '', clock_timestamp())",
    )
    .execute(&mut *savepoint)
    .await?;
    sqlx::query(
        "-- probe_outbox
         INSERT INTO outbox (revision, epoch, event_id, batch_id, verb, payload, committed_at)
         VALUES (0, 0, gen_random_uuid(), gen_random_uuid(), '', '', clock_timestamp())",
    )
    .execute(&mut *savepoint)
    .await?;
    savepoint.rollback().await
}
