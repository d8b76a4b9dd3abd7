//! Removes expired mutes and blocks.
//!
//! Decided under the lock on the head, so that an edge that was just extended stays, and by PostgreSQL's clock, if it
//! is trusted: a removal cannot be undone. Every process looks for expired edges, so a process with a wrong clock does
//! not delay them. Readers never consult a clock: an edge exists until its event.

use proto::Token;
use proto::event::Verb;
use service_kit::ids;
use sqlx::{PgConnection, PgPool};

use crate::clock::DatabaseClock;
use crate::committer::Journal;
use crate::domain::{Touches, expire_step};
use crate::store::{chunks, finish, head, load, save, within};

/// Edges that one transaction has removed.
pub struct Expired {
    /// The head after the transaction.
    pub head: Token,
    /// Delay of each removal, in seconds.
    pub late: Vec<f64>,
}

/// Removes up to `limit` expired edges. Returns `None` if there are none, if the clock is not trusted, or if another
/// process is removing them.
pub async fn next(pool: &PgPool, clock: &DatabaseClock, limit: usize) -> sqlx::Result<Option<Expired>> {
    let mut connection = service_kit::postgres::acquire(pool).await?;
    if within(clock.trusted_now(&mut connection)).await?.is_none()
        || !within(chunks::any_expired(&mut connection)).await?
    {
        return Ok(None);
    }
    let Some(mut transaction) = within(head::begin_locked_for_expiry(&mut connection)).await? else {
        return Ok(None);
    };
    let expired = within(expire(&mut transaction, clock, limit)).await;
    // If the reply is lost, nothing is removed twice: removed edges are not found again.
    finish(transaction, expired).await
}

async fn expire(
    connection: &mut PgConnection,
    clock: &DatabaseClock,
    limit: usize,
) -> sqlx::Result<Option<Expired>> {
    // Checked again: the clock may have jumped during the wait for the lock.
    let Some(now) = clock.trusted_now(connection).await? else { return Ok(None) };
    let due = chunks::expired(connection, now, limit).await?;
    let mut touches = Touches::default();
    due.iter().for_each(|key| touches.edge(*key));
    let (head, mut graph) = load::load(connection, &touches).await?;
    let changes = expire_step(&graph, &due, now);
    if changes.is_empty() {
        return Ok(None);
    }
    let late =
        |key| graph.live.get(key).and_then(|edge| edge.expires_at).map(|at| (now - at).as_seconds_f64());
    let late = changes.iter().filter_map(|change| late(&change.key)).collect();
    let mut journal = Journal::after(head, ids::random);
    journal
        .append(&mut graph, Verb::Expire, None, &changes, &[], None)
        .map_err(|error| sqlx::Error::Decode(error.into()))?;
    save::save(connection, &graph, &journal.entries, ids::random()).await?;
    Ok(Some(Expired { head: journal.token(), late }))
}
