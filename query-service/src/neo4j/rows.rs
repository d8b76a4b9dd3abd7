//! Converts the read model's rows to values.
//!
//! A column that the projector cannot have written is an error of the store; no value is skipped. The server leaves
//! nulls out of lists, so lengths are compared.

use neo4rs::Row;
use proto::{Epoch, Position, Revision, Token, UserId};

use crate::queries::{
    Checkpoint, Counts, Error, FoundCheckpoint, Generation, LINKS, Link, ListRow, Relation,
};

/// Stands for an absent number. No edge expires before 1970, and no revision is below zero.
const NONE: i64 = -1;

/// The columns of links, in the order of [`LINKS`].
const COLUMNS: [&str; 7] =
    ["following", "followed_by", "requested", "request_received", "muting", "blocking", "blocked_by"];

pub fn checkpoint(row: &Row) -> Result<Checkpoint, Error> {
    Ok(Checkpoint { visible: token(row, "epoch", "visible")?, complete: flag(row, "complete")? })
}

/// The checkpoint, and the id of its database.
pub fn found_checkpoint(row: &Row) -> Result<FoundCheckpoint, Error> {
    let database: Option<String> = row.get("database_id").map_err(Error::failed)?;
    let database = database.map(|text| text.parse().map_err(Error::failed)).transpose()?;
    let checkpoint = checkpoint(row)?;
    // What an incomplete read model holds may be wrong.
    let generation = generation(row, "repairs")?.filter(|_| checkpoint.complete);
    Ok(FoundCheckpoint { checkpoint, database, generation })
}

/// The generation of repairs that an answer was read in; `None` if a repair was under way.
pub fn generation_of_answer(row: &Row) -> Result<Option<Generation>, Error> {
    Ok(Generation::common(generation(row, "repairs")?, generation(row, "still_repairs")?))
}

fn generation(row: &Row, name: &str) -> Result<Option<Generation>, Error> {
    let number: Option<i64> = row.get(name).map_err(Error::failed)?;
    Ok(number.and_then(Generation::new))
}

/// The revisions between which an answer lies. Rejects an answer of an unusable read model.
pub fn bounds(row: &Row) -> Result<(Token, Token), Error> {
    let checkpoint = checkpoint(row)?;
    // Check after the data too: the read model may have been taken down, or begun another epoch, in between.
    if !checkpoint.complete || !flag(row, "still_complete")? {
        return Err(Error::NotComplete);
    }
    let target = token(row, "target_epoch", "target")?;
    if target.epoch != checkpoint.visible.epoch {
        return Err(Error::NotComplete);
    }
    Ok((checkpoint.visible, target.max(checkpoint.visible)))
}

/// Marks the targets that are followed.
pub fn followed(row: &Row, value: &mut [bool]) -> Result<(), Error> {
    for place in numbers(row, "places")? {
        *at(value, place)? = true;
    }
    Ok(())
}

/// Ids, in the order of the server.
pub fn users(row: &Row) -> Result<Vec<UserId>, Error> {
    let users: Vec<&str> = row.get("users").map_err(Error::failed)?;
    users.into_iter().map(|user| UserId::parse(user).map_err(Error::failed)).collect()
}

pub fn list(row: &Row) -> Result<Vec<ListRow>, Error> {
    let users: Vec<&str> = row.get("users").map_err(Error::failed)?;
    let positions = numbers(row, "positions")?;
    let dates = numbers(row, "dates")?;
    let mut expiries = numbers(row, "expiries")?;
    if expiries.is_empty() {
        // Edges of this kind do not expire.
        expiries = vec![NONE; users.len()];
    }
    if [positions.len(), dates.len(), expiries.len()] != [users.len(); 3] {
        return Err(Error::failed("an edge of the read model lacks a property"));
    }
    let values = positions.into_iter().zip(dates).zip(expiries);
    let rows = users.into_iter().zip(values).map(|(user, ((position, created_at_millis), expiry))| {
        Ok(ListRow {
            user: UserId::parse(user).map_err(Error::failed)?,
            position: Position::from_i64(position),
            created_at_millis,
            expires_at_millis: (expiry != NONE).then_some(expiry),
        })
    });
    rows.collect()
}

/// Assigns links to their accounts.
pub fn relations(row: &Row, value: &mut [Relation]) -> Result<(), Error> {
    for (column, side) in COLUMNS.into_iter().zip(LINKS) {
        let links: Vec<(i64, i64, i64, i64, i64)> = row.get(column).map_err(Error::failed)?;
        for (place, position, created_at_millis, expiry, revision) in links {
            let position = Position::from_i64(position);
            let link = Link {
                position,
                created_at_millis,
                expires_at_millis: (expiry != NONE).then_some(expiry),
                // An edge that has not changed since it was added has no revision of its own.
                revision: if revision == NONE { position.revision() } else { Revision::from_i64(revision) },
            };
            if let Some(slot) = at(value, place)?.slot(side) {
                *slot = Some(link);
            }
        }
    }
    Ok(())
}

/// Assigns counts to their accounts.
pub fn counts(row: &Row, value: &mut [Counts]) -> Result<(), Error> {
    let counts: Vec<(i64, i64, i64, i64, i64, i64, i64)> = row.get("counts").map_err(Error::failed)?;
    let count = |n| u64::try_from(n).unwrap_or(0);
    for (place, followers, following, muting, blocking, requests_sent, requests_received) in counts {
        *at(value, place)? = Counts {
            followers: count(followers),
            following: count(following),
            muting: count(muting),
            blocking: count(blocking),
            requests_sent: count(requests_sent),
            requests_received: count(requests_received),
        };
    }
    Ok(())
}

/// The element at an index that the server returned.
fn at<T>(list: &mut [T], place: i64) -> Result<&mut T, Error> {
    usize::try_from(place)
        .ok()
        .and_then(|place| list.get_mut(place))
        .ok_or_else(|| Error::failed("the read model answered for an id that was not asked"))
}

fn numbers(row: &Row, name: &str) -> Result<Vec<i64>, Error> {
    row.get(name).map_err(Error::failed)
}

fn flag(row: &Row, name: &str) -> Result<bool, Error> {
    let flag: Option<bool> = row.get(name).map_err(Error::failed)?;
    Ok(flag.unwrap_or(false))
}

fn token(row: &Row, epoch: &str, revision: &str) -> Result<Token, Error> {
    let epoch: i64 = row.get(epoch).map_err(Error::failed)?;
    let revision: i64 = row.get(revision).map_err(Error::failed)?;
    Ok(Token::new(Epoch::from_i64(epoch), Revision::from_i64(revision)))
}
