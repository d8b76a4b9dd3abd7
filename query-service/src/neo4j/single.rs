//! Answers of the read model to single-hop questions, in parts that fit a message.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use neo4rs::{BoltType, Row};
use proto::{Position, UserId};
use service_kit::trace::Span;
use tokio::time::Instant;

use super::{Neo4jReader, Params, below, cypher, db_span, number, rows};
use crate::queries::{
    Begins, Check, Context, Counts, CountsOf, Error, ListRow, Page, Pair, Read, ReadItems, ReadResult,
    Relation, Relations, Room, SeenPage, SeenRow, Versioned,
};

/// Parts of one large question that run concurrently. Few: each takes a connection, and small questions must find some
/// free.
const PARTS_AT_A_TIME: usize = 2;

/// A statement about ids, and how to read its answer.
struct Parts<'a, V> {
    /// Its name in traces.
    operation: &'static str,
    statement: &'static str,
    ids: &'a [UserId],
    /// Maximum number of ids in a message.
    size: usize,
    /// Assigns the values of a row to its ids.
    place: Place<V>,
}

type Place<V> = fn(&Row, &mut [V]) -> Result<(), Error>;

impl Read<Check> for Neo4jReader {
    async fn read(&self, check: &Check, cx: Context<'_>) -> ReadResult<Vec<bool>> {
        let parts = Parts {
            operation: "checks.read",
            statement: cypher::CHECK,
            ids: &check.targets,
            size: cypher::IDS_PER_STATEMENT,
            place: rows::followed,
        };
        let params = |ids| vec![("viewer", check.viewer.to_string().into()), ("targets", ids)];
        self.run_in_parts(parts, params, cx).await
    }
}

impl Read<Relations> for Neo4jReader {
    async fn read(&self, relations: &Relations, cx: Context<'_>) -> ReadResult<Vec<Relation>> {
        let parts = Parts {
            operation: "relations.read",
            statement: cypher::RELATIONS,
            ids: &relations.targets,
            size: cypher::TARGETS_PER_RELATIONS,
            place: rows::relations,
        };
        let params = |ids| vec![("viewer", relations.viewer.to_string().into()), ("targets", ids)];
        self.run_in_parts(parts, params, cx).await
    }
}

impl Read<CountsOf> for Neo4jReader {
    async fn read(&self, counts: &CountsOf, cx: Context<'_>) -> ReadResult<Vec<Counts>> {
        self.counts(&counts.users, cx).await
    }
}

impl Read<Page> for Neo4jReader {
    async fn read(&self, page: &Page, cx: Context<'_>) -> ReadResult<Vec<ListRow>> {
        let params = page_params(page.user, page.before, page.limit);
        let span = db_span("lists.read", cx.parent);
        let row = self.run(cypher::list(page.kind), params, page.limit, cx.within, span).await?;
        row.try_map(rows::list)
    }
}

impl Read<SeenPage> for Neo4jReader {
    async fn read(&self, page: &SeenPage, cx: Context<'_>) -> ReadResult<Vec<SeenRow>> {
        let mut params = page_params(page.user, page.before, page.limit);
        params.push(("viewer", page.viewer.to_string().into()));
        let span = db_span("lists.read", cx.parent);
        let row = self.run(cypher::seen_list(page.list), params, page.limit, cx.within, span).await?;
        row.try_map(|row| {
            let listed = rows::list(row)?;
            let mut relations = vec![Relation::default(); listed.len()];
            rows::relations(row, &mut relations)?;
            let seen = listed.into_iter().zip(relations);
            Ok(seen.map(|(row, relation)| SeenRow { row, relation }).collect())
        })
    }
}

impl ReadItems<Check> for Neo4jReader {
    // Each question has its own viewer.
    const ROOM: Room = Room { statement: cypher::IDS_PER_PAIRS, question: 1 };

    async fn read_items(&self, pairs: Vec<Pair>, begins: Begins, cx: Context<'_>) -> ReadResult<Vec<bool>> {
        let span = db_span("checks.read", cx.parent);
        self.announcing(begins).pairs(cypher::CHECK_PAIRS, &pairs, rows::followed, cx.within, span).await
    }
}

impl ReadItems<Relations> for Neo4jReader {
    const ROOM: Room = Room { statement: cypher::IDS_PER_RELATION_PAIRS, question: 1 };

    async fn read_items(
        &self,
        pairs: Vec<Pair>,
        begins: Begins,
        cx: Context<'_>,
    ) -> ReadResult<Vec<Relation>> {
        let span = db_span("relations.read", cx.parent);
        self.announcing(begins).pairs(cypher::RELATION_PAIRS, &pairs, rows::relations, cx.within, span).await
    }
}

impl ReadItems<CountsOf> for Neo4jReader {
    const ROOM: Room = Room { statement: cypher::IDS_PER_STATEMENT, question: 0 };

    async fn read_items(
        &self,
        users: Vec<UserId>,
        begins: Begins,
        cx: Context<'_>,
    ) -> ReadResult<Vec<Counts>> {
        self.announcing(begins).counts(&users, cx).await
    }
}

impl Neo4jReader {
    async fn counts(&self, users: &[UserId], cx: Context<'_>) -> ReadResult<Vec<Counts>> {
        let parts = Parts {
            operation: "counts.read",
            statement: cypher::COUNTS,
            ids: users,
            size: cypher::IDS_PER_STATEMENT,
            place: rows::counts,
        };
        self.run_in_parts(parts, |ids| vec![("users", ids)], cx).await
    }

    /// Runs a statement for pairs of several questions.
    async fn pairs<V: Clone + Default>(
        &self,
        statement: &'static str,
        pairs: &[Pair],
        place: Place<V>,
        within: Duration,
        span: Span,
    ) -> ReadResult<Vec<V>> {
        let row = self.run(statement, pair_params(pairs), 1, within, span).await?;
        row.try_map(|row| {
            let mut value = vec![V::default(); pairs.len()];
            place(row, &mut value)?;
            Ok(value)
        })
    }

    /// Runs a statement for each part of a list of ids that fits a message, a few concurrently, and joins the answers
    /// in order.
    async fn run_in_parts<V: Clone + Default>(
        &self,
        parts: Parts<'_, V>,
        params: impl Fn(BoltType) -> Params + Send + Sync,
        cx: Context<'_>,
    ) -> ReadResult<Vec<V>> {
        let Parts { operation, statement, ids, size, place } = parts;
        if ids.is_empty() {
            let checkpoint = self.checkpoint(cx.within).await?.ok_or(Error::NotBuilt)?.checkpoint;
            let answer = Versioned::exact(Vec::new(), checkpoint.visible);
            return if checkpoint.complete { Ok(answer) } else { Err(Error::NotComplete) };
        }
        let until = Instant::now() + cx.within;
        let params = &params;
        let ask = |part: &[UserId]| {
            let texts: Vec<BoltType> = part.iter().map(|id| id.to_string().into()).collect();
            async move {
                let within = cx.until(until)?.within;
                self.run(statement, params(texts.into()), 1, within, db_span(operation, cx.parent)).await
            }
        };
        let parts: Vec<_> = ids.chunks(size).map(ask).collect();
        let mut rows = futures::stream::iter(parts).buffered(PARTS_AT_A_TIME).enumerate();
        let mut value = vec![V::default(); ids.len()];
        let mut whole: Option<Versioned<()>> = None;
        while let Some((number, row)) = rows.next().await {
            let (row, bounds) = row?.split();
            place(&row, value.get_mut(number * size..).unwrap_or_default())?;
            whole = Some(Versioned::joined(whole, bounds)?);
        }
        let whole = whole.ok_or(Error::NotBuilt)?; // There was a part: the list is not empty.
        Ok(whole.map(|()| value))
    }

    /// The accounts that an account follows, in the order of their ids: the first `limit` after this one.
    pub async fn followed(
        &self,
        user: UserId,
        after: Option<UserId>,
        limit: usize,
        within: Duration,
    ) -> ReadResult<Vec<UserId>> {
        // Less than any id.
        let after = after.map(|after| after.to_string()).unwrap_or_default();
        let params =
            vec![("user", user.to_string().into()), ("after", after.into()), ("limit", number(limit))];
        let row = self.run(cypher::FOLLOWED, params, limit, within, Span::default()).await?;
        row.try_map(rows::users)
    }
}

/// Deduplicates the ids, and returns the indexes of both ends of each pair.
fn pair_params(pairs: &[Pair]) -> Params {
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
