//! Whether rows can be inserted.

use sqlx::{Connection as _, PgConnection};

/// Inserts an idempotency record and an event as a command does, and takes them back. Nothing of them is ever visible.
pub async fn insert_and_take_back(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // Within a transaction this is a savepoint.
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
