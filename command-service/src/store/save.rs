//! Writes the changed edges and accounts of a transaction, and its events, the last of which is the new head.

use sqlx::PgConnection;
use uuid::Uuid;

use super::edges;
use crate::domain::Graph;
use crate::store::outbox::Entry;

/// Counts, flags and the outbox in one statement. Absolute values are correct because the transaction locked the head
/// before it read them.
const APPEND: &str = "-- append
    WITH kept AS (
        INSERT INTO accounts (user_id, followers, following, muting, blocking, requests_sent, requests_received,
                              private, state)
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                             $7::bigint[], $17::boolean[], $18::text[])
        ON CONFLICT (user_id) DO UPDATE
        SET followers = excluded.followers, following = excluded.following, muting = excluded.muting,
            blocking = excluded.blocking, requests_sent = excluded.requests_sent,
            requests_received = excluded.requests_received, private = excluded.private, state = excluded.state
    ), dropped AS (
        DELETE FROM accounts WHERE user_id = ANY($19)
    )
    INSERT INTO outbox (revision, epoch, event_id, prev_id, verb, payload, traceparent, committed_at, batch_id)
    SELECT r, e, i, p, v, b, t, c, $16
    FROM unnest($8::bigint[], $9::bigint[], $10::uuid[], $11::uuid[], $12::text[], $13::bytea[], $14::text[],
                $15::timestamptz[]) AS x(r, e, i, p, v, b, t, c)";

/// Writes the graph's changes and the events, of which there is at least one: without events there are no changes.
pub async fn save(
    connection: &mut PgConnection,
    graph: &Graph,
    entries: &[Entry],
    batch_id: Uuid,
) -> sqlx::Result<()> {
    edges::save(connection, graph).await?;
    let erased: Vec<_> = graph.accounts_to_erase().map(|user| user.uuid()).collect();
    if !erased.is_empty() {
        delete_accounts(connection, &erased).await?;
    }
    append(connection, graph, entries, batch_id).await
}

async fn append(
    connection: &mut PgConnection,
    graph: &Graph,
    entries: &[Entry],
    batch_id: Uuid,
) -> sqlx::Result<()> {
    let mut ids: Vec<Uuid> = Vec::new();
    let mut counts: [Vec<i64>; 6] = Default::default();
    let (mut private, mut states) = (Vec::new(), Vec::new());
    for (user, a) in graph.accounts_to_put() {
        ids.push(user.uuid());
        let values = [a.followers, a.following, a.muting, a.blocking, a.requests_sent, a.requests_received];
        for (column, value) in counts.iter_mut().zip(values) {
            column.push(i64::try_from(value).unwrap_or(i64::MAX));
        }
        private.push(a.private);
        states.push(a.state.name());
    }
    let dropped: Vec<_> = graph.accounts_to_drop().map(|user| user.uuid()).collect();
    let query = counts.into_iter().fold(sqlx::query(APPEND).bind(ids), |query, column| query.bind(column));
    let each = || entries.iter();
    query
        .bind(each().map(|e| e.revision().as_i64()).collect::<Vec<_>>())
        .bind(each().map(|e| e.epoch().as_i64()).collect::<Vec<_>>())
        .bind(each().map(|e| e.event_id).collect::<Vec<_>>())
        .bind(each().map(|e| e.prev_id).collect::<Vec<_>>())
        .bind(each().map(|e| e.verb.as_str()).collect::<Vec<_>>())
        .bind(each().map(|e| e.payload.as_slice()).collect::<Vec<_>>())
        .bind(each().map(|e| e.traceparent.as_deref()).collect::<Vec<_>>())
        .bind(each().map(|e| e.committed_at).collect::<Vec<_>>())
        .bind(batch_id)
        .bind(private)
        .bind(states)
        .bind(dropped)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Deletes accounts and their idempotency records.
async fn delete_accounts(connection: &mut PgConnection, users: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query("-- accounts_forget\nDELETE FROM accounts WHERE user_id = ANY($1)")
        .bind(users)
        .execute(&mut *connection)
        .await?;
    sqlx::query("-- replies_forget\nDELETE FROM replies WHERE actor_id = ANY($1)")
        .bind(users)
        .execute(connection)
        .await
        .map(|_| ())
}
