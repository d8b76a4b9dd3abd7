//! The outbox: every event, in the transaction that made it.

use proto::{Epoch, Revision};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// An event as it waits for its publication.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Entry {
    revision: i64,
    epoch: i64,
    /// Names the event alone.
    pub event_id: Uuid,
    /// The event before.
    pub prev_id: Option<Uuid>,
    /// Last part of its subject.
    pub verb: String,
    /// The event, encoded.
    pub payload: Vec<u8>,
    /// W3C trace context of the command.
    pub traceparent: Option<String>,
    /// The time of the transaction.
    pub committed_at: OffsetDateTime,
}

impl Entry {
    /// An entry to insert.
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

    /// Its revision, which is its sequence number in the stream.
    pub fn revision(&self) -> Revision {
        Revision::from_i64(self.revision)
    }

    /// Its revision as the table keeps it.
    pub fn revision_column(&self) -> i64 {
        self.revision
    }

    /// Its epoch as the table keeps it.
    pub fn epoch_column(&self) -> i64 {
        self.epoch
    }

    /// The history that it belongs to.
    pub fn epoch(&self) -> Epoch {
        Epoch::from_i64(self.epoch)
    }
}

#[cfg(test)]
impl Entry {
    /// An event of the first epoch that changes nothing; its id is its revision.
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

/// Tells whether a revision came from a batch, after its reply to COMMIT was lost.
pub async fn is_of_batch(
    connection: &mut PgConnection,
    revision: Revision,
    batch_id: Uuid,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "-- outbox_is_of_batch
         SELECT EXISTS (SELECT 1 FROM outbox WHERE revision = $1 AND batch_id = $2)",
    )
    .bind(revision.as_i64())
    .bind(batch_id)
    .fetch_one(connection)
    .await
}

/// Events from a revision on, in order; as many as fit both limits, but at least one.
pub async fn list_from(
    connection: &mut PgConnection,
    from: Revision,
    limit: usize,
) -> Result<Vec<Entry>, sqlx::Error> {
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

/// What the outbox knows of one revision.
pub async fn get_ids(
    connection: &mut PgConnection,
    revision: Revision,
) -> Result<Option<(Epoch, Uuid)>, sqlx::Error> {
    let row: Option<(i64, Uuid)> =
        sqlx::query_as("-- outbox_get_ids\nSELECT epoch, event_id FROM outbox WHERE revision = $1")
            .bind(revision.as_i64())
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(epoch, id)| (Epoch::from_i64(epoch), id)))
}

/// The oldest event that is still there.
pub async fn oldest(connection: &mut PgConnection) -> Result<Option<Revision>, sqlx::Error> {
    let revision: Option<i64> = sqlx::query_scalar("-- outbox_oldest\nSELECT min(revision) FROM outbox")
        .fetch_one(connection)
        .await?;
    Ok(revision.map(Revision::from_i64))
}

/// The event before an event.
pub async fn prev_id(connection: &mut PgConnection, revision: Revision) -> Result<Option<Uuid>, sqlx::Error> {
    let prev_id: Option<Option<Uuid>> =
        sqlx::query_scalar("-- outbox_prev_id\nSELECT prev_id FROM outbox WHERE revision = $1")
            .bind(revision.as_i64())
            .fetch_optional(connection)
            .await?;
    Ok(prev_id.flatten())
}

/// When an event was committed.
pub async fn committed_at(
    connection: &mut PgConnection,
    revision: Revision,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar("-- outbox_committed_at\nSELECT committed_at FROM outbox WHERE revision = $1")
        .bind(revision.as_i64())
        .fetch_optional(connection)
        .await
}
