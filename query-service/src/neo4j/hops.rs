//! Answers of the read model to multi-hop questions, and answers that need several statements.

use neo4rs::Row;
use proto::{Position, UserId};
use tokio::time::Instant;

use super::cypher::hops as cypher;
use super::{Neo4jReader, below, db_span, number};
use crate::queries::{
    Context, Error, FOLLOWS_LOOKED_THROUGH, FOLLOWS_OF_EACH, Known, KnownRows, ListAt, ListRow, MetRow,
    NAMED_BETWEEN, Part, Question as _, Read, ReadResult, Relations, SUGGESTING_FOLLOWS, Sift, Sifted,
    Suggest, Suggested, Suggestion, Union, United,
};

impl Read<Sift> for Neo4jReader {
    async fn read(&self, sift: &Sift, cx: Context<'_>) -> ReadResult<Sifted> {
        let params = vec![
            ("user", sift.walked.user.to_string().into()),
            ("second", sift.other.user.to_string().into()),
            ("before", below(sift.before)),
            ("since", below(sift.other_before)),
            ("members", sift.members.into()),
            ("look", number(sift.look)),
            ("limit", number(sift.limit)),
        ];
        let statement = cypher::sift(sift.walked.list, sift.other.list);
        let row = self.run(statement, params, 1, cx.within, db_span("sets.read", cx.parent)).await?;
        row.try_map(|row| {
            let looked_at: i64 = row.get("looked_at").map_err(Error::failed)?;
            let looked_to: i64 = row.get("looked_to").map_err(Error::failed)?;
            let more = usize::try_from(looked_at).is_ok_and(|looked| looked > 0 && looked >= sift.look);
            let looked_to = more.then(|| Position::from_i64(looked_to));
            Ok(Sifted { rows: met_rows(row, sift.members)?, looked_to })
        })
    }
}

impl Read<Known> for Neo4jReader {
    async fn read(&self, known: &Known, cx: Context<'_>) -> ReadResult<KnownRows> {
        let params = vec![
            ("user", known.viewer.to_string().into()),
            ("second", known.target.to_string().into()),
            ("newest", below(None)),
            ("look", number(FOLLOWS_LOOKED_THROUGH)),
            ("before", below(known.before)),
            ("skip", number(known.skip)),
            ("limit", number(known.limit)),
        ];
        let row = self.run(cypher::KNOWN, params, 1, cx.within, db_span("sets.read", cx.parent)).await?;
        row.try_map(|row| Ok(KnownRows { rows: met_rows(row, true)?, total: total(row)? }))
    }
}

impl Read<ListAt> for Neo4jReader {
    async fn read(&self, at: &ListAt, cx: Context<'_>) -> ReadResult<Part> {
        let params = vec![
            ("user", at.user.to_string().into()),
            ("newest", below(None)),
            ("skip", number(at.offset)),
            ("limit", number(at.limit)),
        ];
        let until = Instant::now() + cx.within;
        // The viewer's links cost the server more time than the rows.
        let mut span = db_span("lists.read", cx.parent);
        let held = self.holding(at.rows(), cx.within).await;
        let held = held.inspect_err(|error| span.failed(&error.to_string()))?;
        let row = held.run(cypher::list_at(at.kind), params, 1, cx.until(until)?.within, span).await?;
        let part = row.try_map(|row| {
            Ok(Part { users: users(row, "users")?, total: total(row)?, relations: Vec::new() })
        })?;
        let Some(viewer) = at.viewer.filter(|_| !part.value.users.is_empty()) else { return Ok(part) };
        let relations = Relations { viewer, targets: part.value.users.clone() };
        let relations = held.read(&relations, cx.until(until)?).await?;
        part.with(relations, |part, relations| Part { relations, ..part })
    }
}

impl Read<Union> for Neo4jReader {
    async fn read(&self, union: &Union, cx: Context<'_>) -> ReadResult<United> {
        let until = Instant::now() + cx.within;
        let first = self.read(&union.first_page(), cx).await?;
        let Some(sift) = union.rest(&first.value) else {
            return Ok(first.map(|first| United { first, second: None }));
        };
        let rest = self.read(&sift, cx.until(until)?).await?;
        first.with(rest, |first, rest| United { first, second: Some(rest) })
    }
}

impl Read<Suggest> for Neo4jReader {
    async fn read(&self, suggest: &Suggest, cx: Context<'_>) -> ReadResult<Suggested> {
        let params = vec![
            ("user", suggest.viewer.to_string().into()),
            ("newest", below(None)),
            ("follows", number(SUGGESTING_FOLLOWS)),
            ("each", number(FOLLOWS_OF_EACH)),
            ("named", number(NAMED_BETWEEN)),
            ("limit", number(suggest.limit)),
        ];
        let span = db_span("suggestions.read", cx.parent);
        self.run(cypher::SUGGEST, params, 1, cx.within, span).await?.try_map(suggested)
    }
}

fn suggested(row: &Row) -> Result<Suggested, Error> {
    let middles = users(row, "middles")?;
    let users = users(row, "users")?;
    let numbers: Vec<i64> = row.get("numbers").map_err(Error::failed)?;
    let betweens: Vec<Vec<String>> = row.get("betweens").map_err(Error::failed)?;
    if [numbers.len(), betweens.len()] != [users.len(); 2] {
        return Err(lacking());
    }
    let found = users.into_iter().zip(numbers).zip(betweens);
    let suggestions = found.map(|((user, count), between)| {
        let between_count = u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Suggestion { user, between_count, between: parsed(&between)? })
    });
    Ok(Suggested { suggestions: suggestions.collect::<Result<_, Error>>()?, middles })
}

fn users(row: &Row, name: &str) -> Result<Vec<UserId>, Error> {
    parsed(&row.get::<Vec<&str>>(name).map_err(Error::failed)?)
}

fn parsed(ids: &[impl AsRef<str>]) -> Result<Vec<UserId>, Error> {
    ids.iter().map(|id| UserId::parse(id.as_ref()).map_err(Error::failed)).collect()
}

fn total(row: &Row) -> Result<u64, Error> {
    let total: i64 = row.get("total").map_err(Error::failed)?;
    Ok(u64::try_from(total).unwrap_or(0))
}

/// The rows of a sift. Accounts that are not in the other set have no edge there, and so no second date. No number can
/// represent an absent date, since an edge may have any date.
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
