//! Reads ranges of edges through the index on the pair. A source may have more edges than fit a range, so a range may
//! begin and end within a source.
//!
//! A read is no snapshot: it is exact only while no batch is written.

use neo4rs::{Query, Txn, query};
use proto::UserId;

use super::cypher;
use super::error::Error;
use super::exchange::{AsyncBody, Replica, one_row};
use crate::edge::{Edge, Kind};

/// Sorts after every text that can be an id.
pub(super) const TOP: &str = "\u{10ffff}";
/// Represents an absent number.
const NONE: i64 = i64::MIN;
/// Represents a value that is no integer.
const WRONG: i64 = i64::MIN + 1;

/// The pairs above `after` and not above `until`. An absent bound is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeRange {
    /// Kind of the edges.
    pub kind: Kind,
    /// The last pair before the range.
    pub after: Option<(UserId, UserId)>,
    /// The last pair of the range.
    pub until: Option<(UserId, UserId)>,
}

/// A part of a range that one index lookup reads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Span {
    /// Edges of the sources between two, both excluded.
    Sources { above: String, below: String },
    /// Edges of one source, to targets above one and not above another.
    Within { source: String, above: String, upto: String },
}

impl EdgeRange {
    fn spans(&self) -> Vec<Span> {
        let from = |id: Option<UserId>| id.map(|id| id.to_string()).unwrap_or_default();
        let to = |id: Option<UserId>| id.map_or_else(|| TOP.to_owned(), |id| id.to_string());
        let within = |source: UserId, above, upto| Span::Within {
            source: source.to_string(),
            above: from(above),
            upto: to(upto),
        };
        let sources = |above, below| Span::Sources { above: from(above), below: to(below) };
        match (self.after, self.until) {
            (Some((first, from)), Some((last, to))) if first == last => {
                vec![within(first, Some(from), Some(to))]
            }
            (after, until) => {
                let mut spans = Vec::with_capacity(3);
                spans.extend(after.map(|(source, target)| within(source, Some(target), None)));
                spans.push(sources(after.map(|(source, _)| source), until.map(|(source, _)| source)));
                spans.extend(until.map(|(source, target)| within(source, None, Some(target))));
                spans
            }
        }
    }
}

/// An edge of the read model. Its ids are arbitrary texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `src`.
    pub source: String,
    /// `dst`.
    pub target: String,
    /// The values; an invalid one is a number that no edge has.
    pub edge: Edge,
}

struct ReadRange {
    range: EdgeRange,
    limit: usize,
}

impl AsyncBody<Vec<Found>> for ReadRange {
    async fn run(self, tx: &mut Txn) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for span in self.range.spans() {
            let limit = self.limit - found.len();
            if limit == 0 {
                break;
            }
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let query = lookup(self.range.kind, span).param("limit", limit).param("none", NONE);
            let query = query.param("wrong", WRONG);
            let Some(row) = one_row(tx, query).await? else { continue };
            let sources: Vec<String> = row.get("a")?;
            let targets: Vec<String> = row.get("b")?;
            let positions: Vec<i64> = row.get("p")?;
            let dates: Vec<i64> = row.get("t")?;
            let expiries: Vec<i64> = row.get("e")?;
            let revisions: Vec<i64> = row.get("r")?;
            let ids = sources.into_iter().zip(targets);
            let known = |number: i64| (number != NONE).then_some(number);
            let values = positions.into_iter().zip(dates).zip(expiries).zip(revisions);
            found.extend(ids.zip(values).map(
                |((source, target), (((position, created_at), expiry), revision))| {
                    let edge =
                        Edge { position, created_at, expires_at: known(expiry), changed_at: known(revision) };
                    Found { source, target, edge }
                },
            ));
        }
        Ok(found)
    }
}

fn lookup(kind: Kind, span: Span) -> Query {
    match span {
        Span::Sources { above, below } => {
            let text = cypher::of(kind, cypher::READ_SOURCES);
            query(&text).param("above", above).param("below", below)
        }
        Span::Within { source, above, upto } => {
            let text = cypher::of(kind, cypher::READ_WITHIN);
            query(&text).param("source", source).param("above", above).param("upto", upto)
        }
    }
}

impl Replica {
    /// The first `limit` edges of a range, by source and target.
    pub async fn read_range(&self, range: EdgeRange, limit: usize) -> Result<Vec<Found>, Error> {
        self.transaction(ReadRange { range, limit }).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn user(n: u8) -> UserId {
        UserId::new(Uuid::from_u128((u128::from(n) << 96) + 1)).unwrap()
    }

    fn covers(span: &Span, (source, target): &(String, String)) -> bool {
        match span {
            Span::Sources { above, below } => source > above && source < below,
            Span::Within { source: only, above, upto } => source == only && target > above && target <= upto,
        }
    }

    fn end() -> impl Strategy<Value = Option<(u8, u8)>> {
        prop::option::of((0u8..5, 0u8..5))
    }

    proptest! {
        #[test]
        fn the_spans_of_a_range_cover_it_without_overlap(after in end(), until in end()) {
            prop_assume!(after.is_none() || until.is_none() || after < until);
            let pair = |(source, target): (u8, u8)| (user(source), user(target));
            let range = EdgeRange { kind: Kind::Follow, after: after.map(pair), until: until.map(pair) };
            for source in 0..5u8 {
                for target in 0..5u8 {
                    let inside = after.is_none_or(|after| (source, target) > after)
                        && until.is_none_or(|until| (source, target) <= until);
                    let texts = (user(source).to_string(), user(target).to_string());
                    let covered = range.spans().iter().filter(|span| covers(span, &texts)).count();
                    prop_assert_eq!(covered, usize::from(inside));
                }
            }
        }
    }

    #[test]
    fn an_open_range_covers_texts_that_are_no_ids() {
        let range = EdgeRange { kind: Kind::Follow, after: None, until: None };
        for text in ["zzz", "0", "~", "é"] {
            assert!(range.spans().iter().any(|span| covers(span, &(text.to_owned(), text.to_owned()))));
        }
    }
}
