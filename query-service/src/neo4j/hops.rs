//! Answers of the read model over more than one hop, or put together from several statements.

use std::time::{Duration, Instant};

use neo4rs::{BoltType, Row};
use proto::{Position, UserId};
use service_kit::trace::Parent;

use super::cypher::hops as cypher;
use super::{Neo4jReader, Params, below, db_span, number};
use crate::queries::{
    Error, FOLLOWS_LOOKED_THROUGH, FOLLOWS_OF_EACH, Known, KnownRows, ListAt, ListKind, ListRow, MetRow,
    NAMED_BETWEEN, Part, PublicList, Read, Relations, SUGGESTING_FOLLOWS, Sift, Sifted, Suggest, Suggested,
    Suggestion, Union, United, Versioned,
};

impl Neo4jReader {
    /// Runs every statement once, as for single hops.
    pub(super) async fn warm_up_hops(&self, within: Duration) -> Result<(), Error> {
        // No account has this id.
        let nobody = || BoltType::from(uuid::Uuid::nil().to_string());
        for statement in cypher::ALL {
            let numbers = ["before", "since", "newest", "look", "limit", "skip", "follows", "each", "named"];
            let mut params: Params = vec![("user", nobody()), ("second", nobody()), ("members", true.into())];
            params.extend(numbers.map(|name| (name, BoltType::from(1_i64))));
            self.one_row(statement, params, within).await?;
        }
        Ok(())
    }
}

impl Read<Sift> for Neo4jReader {
    async fn read(&self, sift: &Sift, within: Duration, parent: &Parent) -> Result<Versioned<Sifted>, Error> {
        let statement = match (sift.walked.list, sift.other.list) {
            (PublicList::Following, PublicList::Followers) => cypher::FOLLOWING_IN_FOLLOWERS,
            (PublicList::Following, PublicList::Following) => cypher::FOLLOWING_IN_FOLLOWING,
            (PublicList::Followers, PublicList::Followers) => cypher::FOLLOWERS_IN_FOLLOWERS,
            (PublicList::Followers, PublicList::Following) => cypher::FOLLOWERS_IN_FOLLOWING,
        };
        let params = vec![
            ("user", sift.walked.user.to_string().into()),
            ("second", sift.other.user.to_string().into()),
            ("before", below(sift.before)),
            ("since", below(sift.other_before)),
            ("members", sift.members.into()),
            ("look", number(sift.look)),
            ("limit", number(sift.limit)),
        ];
        let row = self.run(statement, params, within, db_span("sets.read", parent)).await?;
        let looked_at: i64 = row.value.get("looked_at").map_err(Error::failed)?;
        let looked_to: i64 = row.value.get("looked_to").map_err(Error::failed)?;
        let more = usize::try_from(looked_at).is_ok_and(|looked_at| looked_at > 0 && looked_at >= sift.look);
        let looked_to = more.then(|| Position::from_i64(looked_to));
        let value = Sifted { rows: met_rows(&row.value, sift.members)?, looked_to };
        Ok(row.map(|_| value))
    }
}

impl Read<Known> for Neo4jReader {
    async fn read(
        &self,
        known: &Known,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<KnownRows>, Error> {
        let params = vec![
            ("user", known.viewer.to_string().into()),
            ("second", known.target.to_string().into()),
            ("newest", below(None)),
            ("look", number(FOLLOWS_LOOKED_THROUGH)),
            ("before", below(known.before)),
            ("skip", number(known.skip)),
            ("limit", number(known.limit)),
        ];
        let row = self.run(cypher::KNOWN, params, within, db_span("sets.read", parent)).await?;
        let value = KnownRows { rows: met_rows(&row.value, true)?, total: total(&row.value)? };
        Ok(row.map(|_| value))
    }
}

impl Read<ListAt> for Neo4jReader {
    async fn read(&self, at: &ListAt, within: Duration, parent: &Parent) -> Result<Versioned<Part>, Error> {
        let statement = match at.kind {
            ListKind::Followers => cypher::FOLLOWERS_AT,
            ListKind::Following => cypher::FOLLOWING_AT,
            ListKind::Mutes => cypher::MUTES_AT,
            ListKind::Blocks => cypher::BLOCKS_AT,
            ListKind::RequestsReceived => cypher::REQUESTS_RECEIVED_AT,
            ListKind::RequestsSent => cypher::REQUESTS_SENT_AT,
        };
        let params = vec![
            ("user", at.user.to_string().into()),
            ("newest", below(None)),
            ("skip", number(at.offset)),
            ("limit", number(at.limit)),
        ];
        let began = Instant::now();
        let left = || within.checked_sub(began.elapsed()).ok_or(Error::TimedOut);
        // What links a viewer with the rows takes more of the server's time than the rows.
        let mut span = db_span("lists.read", parent);
        let held = self.holding(at.rows(), within).await;
        let held = held.inspect_err(|error| span.failed(&error.to_string()))?;
        let row = held.run(statement, params, left()?, span).await?;
        let (users, total) = (users(&row.value, "users")?, total(&row.value)?);
        let part = row.map(|_| Part { users, total, relations: Vec::new() });
        let Some(viewer) = at.viewer.filter(|_| !part.value.users.is_empty()) else { return Ok(part) };
        let relations = Relations { viewer, targets: part.value.users.clone() };
        let relations = held.read(&relations, left()?, parent).await?;
        part.with(relations, |part, relations| Part { relations, ..part })
    }
}

impl Read<Union> for Neo4jReader {
    async fn read(
        &self,
        union: &Union,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<United>, Error> {
        let began = Instant::now();
        let first = self.read(&union.first_page(), within, parent).await?;
        let Some(sift) = union.rest(&first.value) else {
            return Ok(first.map(|first| United { first, second: None }));
        };
        let left = within.checked_sub(began.elapsed()).ok_or(Error::TimedOut)?;
        let rest = self.read(&sift, left, parent).await?;
        first.with(rest, |first, rest| United { first, second: Some(rest) })
    }
}

impl Read<Suggest> for Neo4jReader {
    async fn read(
        &self,
        suggest: &Suggest,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Suggested>, Error> {
        let params = vec![
            ("user", suggest.viewer.to_string().into()),
            ("newest", below(None)),
            ("follows", number(SUGGESTING_FOLLOWS)),
            ("each", number(FOLLOWS_OF_EACH)),
            ("named", number(NAMED_BETWEEN)),
            ("limit", number(suggest.limit)),
        ];
        let row = self.run(cypher::SUGGEST, params, within, db_span("suggestions.read", parent)).await?;
        let middles = users(&row.value, "middles")?;
        let users = users(&row.value, "users")?;
        let numbers: Vec<i64> = row.value.get("numbers").map_err(Error::failed)?;
        let betweens: Vec<Vec<String>> = row.value.get("betweens").map_err(Error::failed)?;
        if [numbers.len(), betweens.len()] != [users.len(); 2] {
            return Err(lacking());
        }
        let suggestions =
            users.into_iter().zip(numbers.into_iter().zip(betweens)).map(|(user, (count, between))| {
                let between: Result<Vec<UserId>, _> =
                    between.iter().map(|text| UserId::parse(text)).collect();
                Ok(Suggestion {
                    user,
                    between_count: u32::try_from(count).unwrap_or(u32::MAX),
                    between: between.map_err(Error::failed)?,
                })
            });
        let suggestions = suggestions.collect::<Result<Vec<_>, Error>>()?;
        let value = Suggested { suggestions, middles };
        Ok(row.map(|_| value))
    }
}

fn users(row: &Row, name: &str) -> Result<Vec<UserId>, Error> {
    let texts: Vec<&str> = row.get(name).map_err(Error::failed)?;
    texts.into_iter().map(|text| UserId::parse(text).map_err(Error::failed)).collect()
}

fn total(row: &Row) -> Result<u64, Error> {
    let total: i64 = row.get("total").map_err(Error::failed)?;
    Ok(u64::try_from(total).unwrap_or(0))
}

/// The rows of a sift. Accounts that are not in the other set have no edge there, and so no second date. No number stands
/// for an absent date: an edge may have any.
fn met_rows(row: &Row, members: bool) -> Result<Vec<MetRow>, Error> {
    let numbers = |name: &str| row.get::<Vec<i64>>(name).map_err(Error::failed);
    let (users, positions, dates) = (users(row, "users")?, numbers("positions")?, numbers("dates")?);
    let met: Vec<Option<i64>> =
        if members { numbers("met_dates")?.into_iter().map(Some).collect() } else { vec![None; users.len()] };
    if [positions.len(), dates.len(), met.len()] != [users.len(); 3] {
        return Err(lacking());
    }
    let values = positions.into_iter().zip(dates).zip(met);
    let rows = users.into_iter().zip(values).map(|(user, ((position, created_at_millis), met))| MetRow {
        row: ListRow {
            user,
            position: Position::from_i64(position),
            created_at_millis,
            expires_at_millis: None,
        },
        met_at_millis: met,
    });
    Ok(rows.collect())
}

fn lacking() -> Error {
    Error::failed("an edge of the read model lacks a property")
}
