//! The outbox: every event, written in the transaction of its change.

use proto::{Epoch, Revision};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// An encoded event and the columns that publish it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Entry {
    revision: i64,
    epoch: i64,
    /// Id of the event.
    pub event_id: Uuid,
    /// Id of the event before; `None` for the first.
    pub prev_id: Option<Uuid>,
    /// Last token of the NATS subject.
    pub verb: String,
    /// The protobuf message.
    pub payload: Vec<u8>,
    /// W3C trace context of the command.
    pub traceparent: Option<String>,
    /// Date of the commit.
    pub committed_at: OffsetDateTime,
}

impl Entry {
    /// Encodes an event.
    pub fn new(event: &proto::event::Event, traceparent: Option<String>) -> Self {
        Self {
            revision: event.revision.as_i64(),
            epoch: event.epoch.as_i64(),
            event_id: event.event_id,
            prev_id: event.prev_id,
            verb: proto::subjects::verb_name(event.verb),
            payload: event.encode(),
            traceparent,
            committed_at: event.committed_at,
        }
    }

    /// The revision, which is also the sequence number in the stream.
    pub fn revision(&self) -> Revision {
        Revision::from_i64(self.revision)
    }

    /// Epoch of the event.
    pub fn epoch(&self) -> Epoch {
        Epoch::from_i64(self.epoch)
    }
}

#[cfg(test)]
impl Entry {
    /// An event of epoch 1 without changes; its id is its revision.
    pub fn empty(revision: u64, prev_id: Option<Uuid>) -> Self {
        let event = proto::event::Event {
            epoch: Epoch(1),
            revision: Revision(revision),
            event_id: Uuid::from_u128(u128::from(revision)),
            prev_id,
            committed_at: OffsetDateTime::UNIX_EPOCH,
            verb: proto::event::Verb::Follow,
            actor: None,
            edges: vec![],
            accounts: vec![],
            counts: vec![],
        };
        Self::new(&event, None)
    }
}

/// Whether a batch made the event of a revision.
pub async fn is_of_batch(
    connection: &mut PgConnection,
    revision: Revision,
    batch_id: Uuid,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "-- outbox_is_of_batch
         SELECT EXISTS (SELECT 1 FROM outbox WHERE revision = $1 AND batch_id = $2)",
    )
    .bind(revision.as_i64())
    .bind(batch_id)
    .fetch_one(connection)
    .await
}

/// Returns up to `limit` events by revision, beginning with `from`.
pub async fn list_from(
    connection: &mut PgConnection,
    from: Revision,
    limit: usize,
) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as(
        "-- outbox_list_from
         SELECT revision, epoch, event_id, prev_id, verb, payload, traceparent, committed_at
         FROM outbox WHERE revision >= $1 AND revision < $1 + $2 ORDER BY revision",
    )
    .bind(from.as_i64())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
}

/// Returns epoch and id of the event of a revision; `None` if the outbox does not have it.
pub async fn get_ids(
    connection: &mut PgConnection,
    revision: Revision,
) -> sqlx::Result<Option<(Epoch, Uuid)>> {
    let row: Option<(i64, Uuid)> =
        sqlx::query_as("-- outbox_get_ids\nSELECT epoch, event_id FROM outbox WHERE revision = $1")
            .bind(revision.as_i64())
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(epoch, id)| (Epoch::from_i64(epoch), id)))
}

/// Returns the oldest revision in the outbox; `None` if it is empty.
pub async fn oldest(connection: &mut PgConnection) -> sqlx::Result<Option<Revision>> {
    let revision: Option<i64> = sqlx::query_scalar("-- outbox_oldest\nSELECT min(revision) FROM outbox")
        .fetch_one(connection)
        .await?;
    Ok(revision.map(Revision::from_i64))
}

/// Returns the prev_id of the event of a revision.
pub async fn prev_id(connection: &mut PgConnection, revision: Revision) -> sqlx::Result<Option<Uuid>> {
    let prev_id: Option<Option<Uuid>> =
        sqlx::query_scalar("-- outbox_prev_id\nSELECT prev_id FROM outbox WHERE revision = $1")
            .bind(revision.as_i64())
            .fetch_optional(connection)
            .await?;
    Ok(prev_id.flatten())
}

/// Returns the date of the event of a revision.
pub async fn committed_at(
    connection: &mut PgConnection,
    revision: Revision,
) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar("-- outbox_committed_at\nSELECT committed_at FROM outbox WHERE revision = $1")
        .bind(revision.as_i64())
        .fetch_optional(connection)
        .await
}
