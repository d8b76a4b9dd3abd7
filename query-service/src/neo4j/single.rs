//! Answers of the read model about edges of the accounts themselves, in parts that fit a message.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use neo4rs::{BoltType, Row};
use proto::{Position, Token, UserId};
use service_kit::trace::Parent;

use super::{Neo4jReader, Params, below, cypher, db_span, list_statement, number, rows, seen_statement};
use crate::queries::{
    Begins, Check, Counts, CountsOf, Error, ListRow, Page, Read, ReadItems, Relation, Relations, Room,
    SeenPage, SeenRow, Versioned,
};

/// Parts of one large question that run at the same time. Few: each takes a connection, and small questions must not
/// find all of them taken.
const PARTS_AT_A_TIME: usize = 2;

/// A statement about ids, and how many of them fit a message.
struct Parts<'a> {
    /// Its name in traces.
    operation: &'static str,
    statement: &'static str,
    ids: &'a [UserId],
    size: usize,
}

impl Read<Check> for Neo4jReader {
    async fn read(
        &self,
        check: &Check,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        let mut value = vec![false; check.targets.len()];
        let params = |ids| vec![("viewer", check.viewer.to_string().into()), ("targets", ids)];
        let parts = Parts {
            operation: "checks.read",
            statement: cypher::CHECK,
            ids: &check.targets,
            size: cypher::IDS_PER_STATEMENT,
        };
        let (as_of, target) = self
            .run_in_parts(parts, params, within, parent, |offset, row| {
                rows::followed(row, value.get_mut(offset..).unwrap_or_default())
            })
            .await?;
        Ok(Versioned::between(value, as_of, target))
    }
}

impl Read<Relations> for Neo4jReader {
    async fn read(
        &self,
        relations: &Relations,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<Relation>>, Error> {
        let mut value = vec![Relation::default(); relations.targets.len()];
        let params = |ids| vec![("viewer", relations.viewer.to_string().into()), ("targets", ids)];
        let parts = Parts {
            operation: "relations.read",
            statement: cypher::RELATIONS,
            ids: &relations.targets,
            size: cypher::TARGETS_PER_RELATIONS,
        };
        let (as_of, target) = self
            .run_in_parts(parts, params, within, parent, |offset, row| {
                rows::relations(row, value.get_mut(offset..).unwrap_or_default())
            })
            .await?;
        Ok(Versioned::between(value, as_of, target))
    }
}

impl Read<CountsOf> for Neo4jReader {
    async fn read(
        &self,
        counts: &CountsOf,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<Counts>>, Error> {
        self.counts(&counts.users, within, parent).await
    }
}

impl Read<Page> for Neo4jReader {
    async fn read(
        &self,
        page: &Page,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<ListRow>>, Error> {
        let params = page_params(page.user, page.before, page.limit);
        let span = db_span("lists.read", parent);
        let row = self.run_for_rows(list_statement(page.kind), params, page.limit, within, span).await?;
        let value = rows::list(&row.value)?;
        Ok(row.map(|_| value))
    }
}

impl Read<SeenPage> for Neo4jReader {
    async fn read(
        &self,
        page: &SeenPage,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<SeenRow>>, Error> {
        let mut params = page_params(page.user, page.before, page.limit);
        params.push(("viewer", page.viewer.to_string().into()));
        let span = db_span("lists.read", parent);
        let row = self.run_for_rows(seen_statement(page.list), params, page.limit, within, span).await?;
        let listed = rows::list(&row.value)?;
        let mut relations = vec![Relation::default(); listed.len()];
        rows::relations(&row.value, &mut relations)?;
        let value =
            listed.into_iter().zip(relations).map(|(row, relation)| SeenRow { row, relation }).collect();
        Ok(row.map(|_| value))
    }
}

impl ReadItems<Check> for Neo4jReader {
    // Each question brings its viewer's id.
    const ROOM: Room = Room { statement: cypher::IDS_PER_PAIRS, question: 1 };

    async fn read_items(
        &self,
        pairs: Vec<(UserId, UserId)>,
        begins: Begins,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        let (params, span) = (pair_params(&pairs), db_span("checks.read", parent));
        let row = self.announcing(begins).run(cypher::CHECK_PAIRS, params, within, span).await?;
        let mut value = vec![false; pairs.len()];
        rows::followed(&row.value, &mut value)?;
        Ok(row.map(|_| value))
    }
}

impl ReadItems<Relations> for Neo4jReader {
    const ROOM: Room = Room { statement: cypher::IDS_PER_RELATION_PAIRS, question: 1 };

    async fn read_items(
        &self,
        pairs: Vec<(UserId, UserId)>,
        begins: Begins,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<Relation>>, Error> {
        let (params, span) = (pair_params(&pairs), db_span("relations.read", parent));
        let row = self.announcing(begins).run(cypher::RELATION_PAIRS, params, within, span).await?;
        let mut value = vec![Relation::default(); pairs.len()];
        rows::relations(&row.value, &mut value)?;
        Ok(row.map(|_| value))
    }
}

impl ReadItems<CountsOf> for Neo4jReader {
    const ROOM: Room = Room { statement: cypher::IDS_PER_STATEMENT, question: 0 };

    async fn read_items(
        &self,
        users: Vec<UserId>,
        begins: Begins,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<Counts>>, Error> {
        self.announcing(begins).counts(&users, within, parent).await
    }
}

impl Neo4jReader {
    async fn counts(
        &self,
        users: &[UserId],
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<Counts>>, Error> {
        let mut value = vec![Counts::default(); users.len()];
        let params = |ids| vec![("users", ids)];
        let parts = Parts {
            operation: "counts.read",
            statement: cypher::COUNTS,
            ids: users,
            size: cypher::IDS_PER_STATEMENT,
        };
        let (as_of, target) = self
            .run_in_parts(parts, params, within, parent, |offset, row| {
                rows::counts(row, value.get_mut(offset..).unwrap_or_default())
            })
            .await?;
        Ok(Versioned::between(value, as_of, target))
    }

    /// Runs a statement for each part of a list of ids that fits a message, a few at a time. The answers are put together
    /// by `place`, which gets the number of ids before the part, in order. Answers the revisions between which the whole
    /// lies.
    async fn run_in_parts(
        &self,
        parts: Parts<'_>,
        params: impl Fn(BoltType) -> Params + Send + Sync,
        within: Duration,
        parent: &Parent,
        mut place: impl FnMut(usize, &Row) -> Result<(), Error> + Send,
    ) -> Result<(Token, Token), Error> {
        let Parts { operation, statement, ids, size } = parts;
        if ids.is_empty() {
            let checkpoint = self.checkpoint(within).await?.ok_or(Error::NotBuilt)?.checkpoint;
            let visible = checkpoint.visible;
            return if checkpoint.complete { Ok((visible, visible)) } else { Err(Error::NotComplete) };
        }
        let started = Instant::now();
        let params = &params;
        let ask = |part: &[UserId]| {
            let texts: Vec<BoltType> = part.iter().map(|id| id.to_string().into()).collect();
            async move {
                let left = within.checked_sub(started.elapsed()).ok_or(Error::TimedOut)?;
                self.run(statement, params(texts.into()), left, db_span(operation, parent)).await
            }
        };
        let parts: Vec<_> = ids.chunks(size).map(ask).collect();
        let mut rows = futures::stream::iter(parts).buffered(PARTS_AT_A_TIME).enumerate();
        let mut bounds: Option<(Token, Token)> = None;
        while let Some((number, row)) = rows.next().await {
            let row = row?;
            bounds = Some(match bounds {
                Some((as_of, _)) if as_of.epoch != row.as_of.epoch => {
                    return Err(Error::failed("the epoch changed between two parts of an answer"));
                }
                // The whole holds what its oldest part holds, and nothing beyond what its newest part may hold.
                Some((as_of, target)) => (as_of.min(row.as_of), target.max(row.target)),
                None => (row.as_of, row.target),
            });
            place(number * size, &row.value)?;
        }
        bounds.ok_or(Error::NotBuilt) // There was a part: the list is not empty.
    }
}

/// Each id once, and where in the list the ends of each pair are.
fn pair_params(pairs: &[(UserId, UserId)]) -> Params {
    let mut ids: Vec<UserId> = Vec::new();
    let mut places: HashMap<UserId, i64> = HashMap::new();
    let mut place = |user: UserId| {
        *places.entry(user).or_insert_with(|| {
            ids.push(user);
            i64::try_from(ids.len() - 1).unwrap_or(i64::MAX)
        })
    };
    let (from, to): (Vec<i64>, Vec<i64>) =
        pairs.iter().map(|(source, target)| (place(*source), place(*target))).unzip();
    let ids: Vec<BoltType> = ids.iter().map(|id| id.to_string().into()).collect();
    vec![("ids", ids.into()), ("from", from.into()), ("to", to.into())]
}

fn page_params(user: UserId, before: Option<Position>, limit: usize) -> Params {
    vec![("user", user.to_string().into()), ("before", below(before)), ("limit", number(limit))]
}
