//! Checks, relations and counts that are in flight at the same time travel as one statement.
//!
//! Owns: which questions share, and how much fits one message. It must not know which read model answers.
//! What can go wrong: as for a statement alone; see [`lanes`] for who fails with whom.
//!
//! Over Bolt a round trip costs far more than a look-up in an index, so a hundred checks in one statement cost little
//! more than one. Lists are answered one by one: each already is one statement of many rows.

pub mod lanes;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use proto::{Position, UserId};
use tokio_util::sync::CancellationToken;

use self::lanes::{Lanes, Room};
use crate::neo4j::{Neo4jReader, cypher};
use crate::queries::{
    Counts, Error, ListKind, ListRow, MultiReader, PublicList, Reader, Relation, SeenRow, Versioned,
};

/// A read model whose small questions share statements.
#[derive(Clone)]
pub struct Coalescing {
    inner: Neo4jReader,
    /// With no lanes, each question has a statement of its own.
    lanes: usize,
    checks: Arc<Lanes<(UserId, UserId), bool>>,
    relations: Arc<Lanes<(UserId, UserId), Relation>>,
    counts: Arc<Lanes<UserId, Counts>>,
}

impl std::fmt::Debug for Coalescing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Coalescing")
    }
}

impl Coalescing {
    /// Shares the statements of this reader, over so many lanes for each kind of question.
    pub fn new(inner: Neo4jReader, lanes: usize) -> Self {
        let (checks, relations, counts) = (inner.shared(), inner.shared(), inner.shared());
        Self {
            inner,
            lanes,
            checks: Arc::new(Lanes::new(
                "check",
                // Each question brings its viewer's id.
                Room { statement: cypher::IDS_PER_PAIRS, question: 1 },
                Box::new(move |pairs, begins, within| {
                    let reader = checks.announcing(begins);
                    Box::pin(async move { reader.check_pairs(&pairs, within).await })
                }),
            )),
            relations: Arc::new(Lanes::new(
                "relations",
                Room { statement: cypher::IDS_PER_RELATION_PAIRS, question: 1 },
                Box::new(move |pairs, begins, within| {
                    let reader = relations.announcing(begins);
                    Box::pin(async move { reader.relation_pairs(&pairs, within).await })
                }),
            )),
            counts: Arc::new(Lanes::new(
                "counts",
                Room { statement: cypher::IDS_PER_STATEMENT, question: 0 },
                Box::new(move |users, begins, within| {
                    let reader = counts.announcing(begins);
                    Box::pin(async move { reader.counts(&users, within).await })
                }),
            )),
        }
    }

    /// Runs the lanes until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let lane = |_| async {
            tokio::join!(
                self.checks.run(stop.clone()),
                self.relations.run(stop.clone()),
                self.counts.run(stop.clone()),
            );
        };
        futures::future::join_all((0..self.lanes).map(lane)).await;
        stop.cancelled().await;
    }
}

#[async_trait]
impl Reader for Coalescing {
    fn multi(&self) -> Option<&dyn MultiReader> {
        self.inner.multi()
    }

    async fn check(
        &self,
        viewer: UserId,
        targets: &[UserId],
        within: Duration,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        if targets.is_empty() || self.lanes == 0 {
            return self.inner.check(viewer, targets, within).await;
        }
        self.checks.get(targets.iter().map(|target| (viewer, *target)).collect(), within).await
    }

    async fn relations(
        &self,
        viewer: UserId,
        targets: &[UserId],
        within: Duration,
    ) -> Result<Versioned<Vec<Relation>>, Error> {
        if targets.is_empty() || self.lanes == 0 {
            return self.inner.relations(viewer, targets, within).await;
        }
        self.relations.get(targets.iter().map(|target| (viewer, *target)).collect(), within).await
    }

    async fn list(
        &self,
        kind: ListKind,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        within: Duration,
    ) -> Result<Versioned<Vec<ListRow>>, Error> {
        self.inner.list(kind, user, before, limit, within).await
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
        self.inner.list_seen(list, user, before, limit, viewer, within).await
    }

    async fn counts(&self, users: &[UserId], within: Duration) -> Result<Versioned<Vec<Counts>>, Error> {
        if users.is_empty() || self.lanes == 0 {
            return self.inner.counts(users, within).await;
        }
        self.counts.get(users.to_vec(), within).await
    }
}
