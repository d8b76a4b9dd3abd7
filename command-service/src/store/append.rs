//! What every batch with events writes beside its edges: the counts, the outbox and
//! the new head, in one statement.

use proto::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::head::Head;
use super::outbox::Entry;
use crate::domain::Account;

/// Absolute counts are right because the transaction has locked the head before it
/// read them. Flags of accounts stay as they are.
const APPEND: &str = "-- append
    WITH counted AS (
        INSERT INTO accounts (user_id, followers, following, muting, blocking, requests_sent, requests_received)
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                             $7::bigint[])
        ON CONFLICT (user_id) DO UPDATE
        SET followers = excluded.followers, following = excluded.following, muting = excluded.muting,
            blocking = excluded.blocking, requests_sent = excluded.requests_sent,
            requests_received = excluded.requests_received
    ), logged AS (
        INSERT INTO outbox (revision, epoch, event_id, prev_id, verb, payload, traceparent, committed_at, batch_id)
        SELECT r, e, i, p, v, b, t, c, $16
        FROM unnest($8::bigint[], $9::bigint[], $10::uuid[], $11::uuid[], $12::text[], $13::bytea[], $14::text[],
                    $15::timestamptz[]) AS x(r, e, i, p, v, b, t, c)
    )
    UPDATE log_head SET revision = $17, event_id = $18, updated_at = $19";

/// Writes the counts of accounts, the events of a batch, and the head after them.
pub async fn append(
    connection: &mut PgConnection,
    accounts: impl Iterator<Item = (UserId, Account)>,
    batch_id: Uuid,
    entries: &[Entry],
    head: &Head,
) -> Result<(), sqlx::Error> {
    let mut ids: Vec<Uuid> = Vec::new();
    let mut counts: [Vec<i64>; 6] = Default::default();
    for (user, a) in accounts {
        ids.push(user.uuid());
        let values = [a.followers, a.following, a.muting, a.blocking, a.requests_sent, a.requests_received];
        for (column, value) in counts.iter_mut().zip(values) {
            column.push(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
    let query = counts.into_iter().fold(sqlx::query(APPEND).bind(ids), |query, column| query.bind(column));
    let each = || entries.iter();
    query
        .bind(each().map(Entry::revision_column).collect::<Vec<_>>())
        .bind(each().map(Entry::epoch_column).collect::<Vec<_>>())
        .bind(each().map(|e| e.event_id).collect::<Vec<_>>())
        .bind(each().map(|e| e.prev_id).collect::<Vec<_>>())
        .bind(each().map(|e| e.verb.as_str()).collect::<Vec<_>>())
        .bind(each().map(|e| e.payload.as_slice()).collect::<Vec<_>>())
        .bind(each().map(|e| e.traceparent.as_deref()).collect::<Vec<_>>())
        .bind(each().map(|e| e.committed_at).collect::<Vec<_>>())
        .bind(batch_id)
        .bind(head.revision.as_i64())
        .bind(head.event_id)
        .bind(head.now)
        .execute(connection)
        .await
        .map(|_| ())
}
