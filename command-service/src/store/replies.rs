//! Idempotency records.

use std::collections::BTreeMap;

use proto::UserId;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// A request by name: its actor and its request_id.
pub type Key = (UserId, Uuid);

/// What was answered the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Digest of the command.
    pub fingerprint: Vec<u8>,
    /// The answer, encoded.
    pub response: Vec<u8>,
}

/// The records of those requests that were answered before.
pub async fn list(connection: &mut PgConnection, keys: &[Key]) -> Result<BTreeMap<Key, Reply>, sqlx::Error> {
    let rows: Vec<(Uuid, Uuid, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "-- replies_list
         SELECT actor_id, request_id, fingerprint, response
         FROM unnest($1::uuid[], $2::uuid[]) AS x(a, r) JOIN replies ON actor_id = a AND request_id = r",
    )
    .bind(keys.iter().map(|(actor, _)| actor.uuid()).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, request)| *request).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(actor, request, fingerprint, response)| {
            Some(((UserId::new(actor)?, request), Reply { fingerprint, response }))
        })
        .collect())
}

/// Remembers answers.
pub async fn insert(
    connection: &mut PgConnection,
    replies: &[(Key, Reply)],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "-- replies_insert
         INSERT INTO replies (actor_id, request_id, fingerprint, response, created_at)
         SELECT a, r, f, b, $5 FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[]) AS x(a, r, f, b)",
    )
    .bind(replies.iter().map(|((actor, _), _)| actor.uuid()).collect::<Vec<_>>())
    .bind(replies.iter().map(|((_, request), _)| *request).collect::<Vec<_>>())
    .bind(replies.iter().map(|(_, reply)| reply.fingerprint.as_slice()).collect::<Vec<_>>())
    .bind(replies.iter().map(|(_, reply)| reply.response.as_slice()).collect::<Vec<_>>())
    .bind(now)
    .execute(connection)
    .await
    .map(|_| ())
}
