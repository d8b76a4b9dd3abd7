//! Reads from the read model.
//!
//! Owns: running the statements of [`cypher`], in parts that fit a message, and between which revisions their
//! answers lie. It must not know when it is asked and when not.
//! What can go wrong: the server is away, slow, empty, or not complete. Each exchange runs in a task of its own, so
//! that a caller that goes away never leaves half an exchange on a pooled connection; and the server ends a statement
//! whose caller has stopped waiting.

mod admission;
pub mod cypher;
mod multi;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod raw_bolt;
mod rows;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt as _;
use neo4rs::{BoltType, Graph, Query, Row};
use proto::{Position, Token, UserId};
use service_kit::neo4j::{DetachedError, misconfigured, run_detached};

pub use self::admission::Admission;
use crate::queries::{
    Begins, Counts, Error, FoundCheckpoint, ListKind, ListRow, MultiReader, PublicList, Reader, Relation,
    SeenRow, Versioned,
};

/// So many parts of one large question are asked at a time. Few: each takes a connection, and small questions shall not
/// find all of them taken.
const PARTS_AT_A_TIME: usize = 2;

/// Connections that are opened before callers come.
const WARM_CONNECTIONS: usize = 4;

/// Reads from one Neo4j.
#[derive(Clone)]
pub struct Neo4jReader {
    graph: Graph,
    /// None where nothing competes for the pool.
    admission: Option<Admission>,
    /// Told when an exchange begins.
    begins: Option<Begins>,
}

impl std::fmt::Debug for Neo4jReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Neo4jReader")
    }
}

/// Names and values of a statement.
type Params = Vec<(&'static str, BoltType)>;

impl Neo4jReader {
    /// Reads over this pool.
    pub fn new(graph: Graph) -> Self {
        Self { graph, admission: None, begins: None }
    }

    /// Waits for a place among these before each exchange.
    #[must_use]
    pub fn admitted(self, admission: Admission) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// The same for statements that questions share, for which some places are kept.
    #[must_use]
    pub fn shared(&self) -> Self {
        Self { admission: self.admission.as_ref().map(Admission::shared), ..self.clone() }
    }

    /// The same for one read of several exchanges, with the places of so many rows for all of them together.
    async fn holding(&self, rows: usize, within: Duration) -> Result<Self, Error> {
        match &self.admission {
            Some(admission) => Ok(self.clone().admitted(admission.hold(rows, within).await?)),
            None => Ok(self.clone()),
        }
    }

    /// The same, and tells when an exchange begins: before that, it waits for a place.
    #[must_use]
    pub fn announcing(&self, begins: Begins) -> Self {
        Self { begins: Some(begins), ..self.clone() }
    }

    /// The checkpoint; `None` if there is none.
    pub async fn checkpoint(&self, within: Duration) -> Result<Option<FoundCheckpoint>, Error> {
        let row = self.one_row(cypher::CHECKPOINT, vec![], within).await?;
        row.map(|row| rows::found_checkpoint(&row)).transpose()
    }

    /// Runs every statement once, so that the server has its plans, its caches and some connections before callers come.
    pub async fn warm_up(&self, within: Duration) -> Result<(), Error> {
        self.run_all(within).await?;
        futures::future::try_join_all((0..WARM_CONNECTIONS).map(|_| self.checkpoint(within))).await?;
        Ok(())
    }

    /// Runs every statement once.
    async fn run_all(&self, within: Duration) -> Result<(), Error> {
        // No account has this id, and every index is searched for it.
        let nobody = BoltType::from(uuid::Uuid::nil().to_string());
        let ids = || BoltType::from(vec![nobody.clone()]);
        let params = || {
            vec![
                ("user", nobody.clone()),
                ("users", ids()),
                ("viewer", nobody.clone()),
                ("targets", ids()),
                ("ids", ids()),
                ("from", BoltType::from(vec![0_i64])),
                ("to", BoltType::from(vec![0_i64])),
                ("before", BoltType::from(i64::MAX)),
                ("limit", BoltType::from(1_i64)),
            ]
        };
        let lists = ListKind::ALL.map(list_statement);
        let seen = [PublicList::Followers, PublicList::Following].map(seen_statement);
        let others =
            [cypher::CHECK, cypher::CHECK_PAIRS, cypher::RELATIONS, cypher::RELATION_PAIRS, cypher::COUNTS];
        for statement in lists.into_iter().chain(seen).chain(others) {
            self.one_row(statement, params(), within).await?;
        }
        self.warm_up_multi(within).await
    }

    /// Runs a statement that answers at most one row.
    async fn one_row(
        &self,
        statement: &'static str,
        params: Params,
        within: Duration,
    ) -> Result<Option<Row>, Error> {
        self.one_row_of(statement, params, 1, within).await
    }

    /// Runs a statement that answers at most one row, made of so many.
    async fn one_row_of(
        &self,
        statement: &'static str,
        params: Params,
        rows: usize,
        within: Duration,
    ) -> Result<Option<Row>, Error> {
        let place = match &self.admission {
            Some(admission) => Some(admission.enter(rows, within).await?),
            None => None,
        };
        if let Some(begins) = &self.begins {
            begins();
        }
        let millis = i64::try_from(within.as_millis()).unwrap_or(i64::MAX).max(1);
        let query = Query::new(statement.to_owned()).params(params).extra("tx_timeout", millis);
        let graph = self.graph.clone();
        let exchange = async move {
            // One whose caller has stopped waiting keeps its place: it keeps its connection.
            let _place = place;
            let mut rows = graph.execute_read(query).await?;
            let row = rows.next().await?;
            // Read to the end: an unread answer would have to be drained by whoever uses the connection next.
            while rows.next().await?.is_some() {}
            Ok::<_, neo4rs::Error>(row)
        };
        run_detached(within, exchange).await.map_err(|error| match error {
            DetachedError::TimedOut => Error::TimedOut,
            DetachedError::Failed(error) if timed_out(&error) => Error::TimedOut,
            DetachedError::Failed(error) => match misconfigured(&error) {
                Some(problem) => Error::Misconfigured(problem),
                None => Error::failed(error),
            },
            other => Error::failed(other),
        })
    }

    /// Runs a statement that reads the checkpoint before and after the data, and refuses what it must not answer from.
    async fn read(
        &self,
        statement: &'static str,
        params: Params,
        within: Duration,
    ) -> Result<Versioned<Row>, Error> {
        self.read_rows(statement, params, 1, within).await
    }

    /// The same for an answer of many rows.
    async fn read_rows(
        &self,
        statement: &'static str,
        params: Params,
        rows: usize,
        within: Duration,
    ) -> Result<Versioned<Row>, Error> {
        let row = self.one_row_of(statement, params, rows, within).await?.ok_or(Error::NotBuilt)?;
        let (as_of, target) = rows::bounds(&row)?;
        Ok(Versioned::between(row, as_of, target))
    }

    /// Tells which pairs are follows, in one statement: the caller keeps to [`cypher::IDS_PER_PAIRS`].
    pub async fn check_pairs(
        &self,
        pairs: &[(UserId, UserId)],
        within: Duration,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        let row = self.read(cypher::CHECK_PAIRS, pair_params(pairs), within).await?;
        let mut value = vec![false; pairs.len()];
        rows::followed(&row.value, &mut value)?;
        Ok(row.map(|_| value))
    }

    /// Tells all that links the first of each pair with the second, in one statement: the caller keeps to
    /// [`cypher::IDS_PER_RELATION_PAIRS`].
    pub async fn relation_pairs(
        &self,
        pairs: &[(UserId, UserId)],
        within: Duration,
    ) -> Result<Versioned<Vec<Relation>>, Error> {
        let row = self.read(cypher::RELATION_PAIRS, pair_params(pairs), within).await?;
        let mut value = vec![Relation::default(); pairs.len()];
        rows::relations(&row.value, &mut value)?;
        Ok(row.map(|_| value))
    }

    /// Runs a statement for each part of a list of ids that fits a message, a few at a time. The answers are put together
    /// by `place`, which gets the number of ids before the part, in order. Answers the revisions between which the whole
    /// lies.
    async fn read_in_parts(
        &self,
        statement: &'static str,
        part_size: usize,
        ids: &[UserId],
        params: impl Fn(BoltType) -> Params + Send + Sync,
        within: Duration,
        mut place: impl FnMut(usize, &Row) -> Result<(), Error> + Send,
    ) -> Result<(Token, Token), Error> {
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
                self.read(statement, params(texts.into()), left).await
            }
        };
        let parts: Vec<_> = ids.chunks(part_size).map(ask).collect();
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
            place(number * part_size, &row.value)?;
        }
        bounds.ok_or(Error::NotBuilt) // There was a part: the list is not empty.
    }
}

/// The statement of a list.
fn list_statement(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Followers => cypher::FOLLOWERS,
        ListKind::Following => cypher::FOLLOWING,
        ListKind::Mutes => cypher::MUTES,
        ListKind::Blocks => cypher::BLOCKS,
        ListKind::RequestsReceived => cypher::REQUESTS_RECEIVED,
        ListKind::RequestsSent => cypher::REQUESTS_SENT,
    }
}

/// The statement of a list that somebody looks at.
fn seen_statement(list: PublicList) -> &'static str {
    match list {
        PublicList::Followers => cypher::FOLLOWERS_SEEN,
        PublicList::Following => cypher::FOLLOWING_SEEN,
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
    vec![
        ("user", user.to_string().into()),
        ("before", before.map_or(i64::MAX, Position::as_i64).into()),
        ("limit", i64::try_from(limit).unwrap_or(i64::MAX).into()),
    ]
}

#[async_trait]
impl Reader for Neo4jReader {
    fn multi(&self) -> Option<&dyn MultiReader> {
        Some(self)
    }

    async fn check(
        &self,
        viewer: UserId,
        targets: &[UserId],
        within: Duration,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        let mut value = vec![false; targets.len()];
        let params = |ids| vec![("viewer", viewer.to_string().into()), ("targets", ids)];
        let (as_of, target) = self
            .read_in_parts(
                cypher::CHECK,
                cypher::IDS_PER_STATEMENT,
                targets,
                params,
                within,
                |offset, row| rows::followed(row, value.get_mut(offset..).unwrap_or_default()),
            )
            .await?;
        Ok(Versioned::between(value, as_of, target))
    }

    async fn relations(
        &self,
        viewer: UserId,
        targets: &[UserId],
        within: Duration,
    ) -> Result<Versioned<Vec<Relation>>, Error> {
        let mut value = vec![Relation::default(); targets.len()];
        let params = |ids| vec![("viewer", viewer.to_string().into()), ("targets", ids)];
        let size = cypher::TARGETS_PER_RELATIONS;
        let (as_of, target) = self
            .read_in_parts(cypher::RELATIONS, size, targets, params, within, |offset, row| {
                rows::relations(row, value.get_mut(offset..).unwrap_or_default())
            })
            .await?;
        Ok(Versioned::between(value, as_of, target))
    }

    async fn list(
        &self,
        kind: ListKind,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        within: Duration,
    ) -> Result<Versioned<Vec<ListRow>>, Error> {
        let row =
            self.read_rows(list_statement(kind), page_params(user, before, limit), limit, within).await?;
        let value = rows::list(&row.value)?;
        Ok(row.map(|_| value))
    }

    async fn list_seen(
        &self,
        list: PublicList,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        viewer: UserId,
        within: Duration,
    ) -> Result<Versioned<Vec<SeenRow>>, Error> {
        let mut params = page_params(user, before, limit);
        params.push(("viewer", viewer.to_string().into()));
        let row = self.read_rows(seen_statement(list), params, limit, within).await?;
        let listed = rows::list(&row.value)?;
        let mut relations = vec![Relation::default(); listed.len()];
        rows::relations(&row.value, &mut relations)?;
        let value =
            listed.into_iter().zip(relations).map(|(row, relation)| SeenRow { row, relation }).collect();
        Ok(row.map(|_| value))
    }

    async fn counts(&self, users: &[UserId], within: Duration) -> Result<Versioned<Vec<Counts>>, Error> {
        let mut value = vec![Counts::default(); users.len()];
        let params = |ids| vec![("users", ids)];
        let (as_of, target) = self
            .read_in_parts(cypher::COUNTS, cypher::IDS_PER_STATEMENT, users, params, within, |offset, row| {
                rows::counts(row, value.get_mut(offset..).unwrap_or_default())
            })
            .await?;
        Ok(Versioned::between(value, as_of, target))
    }
}

impl Neo4jReader {
    /// Why the server does not let us in, if it says so. A statement does not tell: the driver connects again and again for
    /// it, whatever the answer. Beginning a transaction is tried once.
    pub async fn login_problem(&self, within: Duration) -> Option<Error> {
        let graph = self.graph.clone();
        let exchange = async move { graph.start_txn().await?.rollback().await };
        match run_detached(within, exchange).await {
            Err(DetachedError::Failed(error)) => misconfigured(&error).map(Error::Misconfigured),
            _ => None,
        }
    }
}

/// The server ended the statement because its time was up.
fn timed_out(error: &neo4rs::Error) -> bool {
    match error {
        neo4rs::Error::Neo4j(error) => error.code().contains("TransactionTimedOut"),
        neo4rs::Error::ConnectionTimedOut => true,
        _ => false,
    }
}
