//! The end of mutes and blocks that have run out.
//!
//! Which have is decided under the lock on the head, so that one that was renewed a
//! moment ago stays, and by PostgreSQL's clock, if it is trusted: an end cannot be taken back.
//! Every process looks, so that one whose own clock is wrong holds up no expiry.
//! Readers never consult a clock: an edge is there until its event.

use proto::Token;
use proto::event::Verb;
use service_kit::ids;
use sqlx::{PgConnection, PgPool};

use crate::clock::DatabaseClock;
use crate::committer::Journal;
use crate::domain::{Touches, expire_step};
use crate::store::{chunks, head, load, save, within};

/// What one transaction has ended.
pub struct Expired {
    /// The head after it.
    pub head: Token,
    /// How late each edge was, in seconds.
    pub late: Vec<f64>,
}

/// Ends what has run out, at most `limit` edges; none if nothing has, if the clock is not trusted, or if another process
/// is at it.
pub async fn next(
    pool: &PgPool,
    clock: &DatabaseClock,
    limit: usize,
) -> Result<Option<Expired>, sqlx::Error> {
    let mut connection = service_kit::postgres::acquire(pool).await?;
    if within(clock.trusted_now(&mut connection)).await?.is_none()
        || !within(chunks::any_expired(&mut connection)).await?
    {
        return Ok(None);
    }
    let Some(mut transaction) = within(head::begin_locked_for_expiry(&mut connection)).await? else {
        return Ok(None);
    };
    let expired = within(expire(&mut transaction, clock, limit)).await?;
    // Should the reply be lost: what is gone is not found again.
    within(transaction.commit()).await?;
    Ok(expired)
}

async fn expire(
    connection: &mut PgConnection,
    clock: &DatabaseClock,
    limit: usize,
) -> Result<Option<Expired>, sqlx::Error> {
    // Judged once more: the clock may have jumped while this waited for the lock.
    let Some(now) = clock.trusted_now(connection).await? else { return Ok(None) };
    let due = chunks::expired(connection, now, limit).await?;
    let mut touches = Touches::default();
    for key in &due {
        touches.edges.insert(*key);
        touches.accounts.extend([key.source, key.target]);
    }
    let (head, mut graph) = load::load(connection, &touches).await?;
    let changes = expire_step(&graph, &due, now);
    if changes.is_empty() {
        return Ok(None);
    }
    let late = |key| graph.live(key).and_then(|edge| edge.expires_at).map(|at| (now - at).as_seconds_f64());
    let late = changes.iter().filter_map(|change| late(&change.key)).collect();
    let mut journal = Journal::after(head, ids::random);
    journal
        .append(&mut graph, Verb::Expire, None, &changes, &[], None)
        .map_err(|error| sqlx::Error::Decode(error.into()))?;
    save::save(connection, &graph, &journal.entries, ids::random()).await?;
    Ok(Some(Expired { head: journal.token(), late }))
}
