//! Combines checks, relations and counts that are in flight at the same time into one statement.
//!
//! Over Bolt a round trip costs far more than an index look-up, so a hundred checks in one statement cost little more
//! than one. Lists are not combined: each already is one statement of many rows.

pub mod lanes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::lanes::Lanes;
use crate::queries::{
    Check, Context, Counts, CountsOf, Known, ListAt, Page, Question, QuestionName, Read, ReadItems,
    ReadResult, Relation, Relations, SeenPage, Shared, Sift, Suggest, Union,
};

/// A read model whose small questions share statements. Clones share the lanes.
#[derive(Clone)]
pub struct Batched<R> {
    inner: R,
    /// With no lanes, each question has its own statement.
    lanes: usize,
    checks: Arc<Lanes<Check, R>>,
    relations: Arc<Lanes<Relations, R>>,
    counts: Arc<Lanes<CountsOf, R>>,
}

/// Questions with their own statements.
pub trait Unshared: Question {}
impl Unshared for Page {}
impl Unshared for SeenPage {}
impl Unshared for ListAt {}
impl Unshared for Sift {}
impl Unshared for Known {}
impl Unshared for Union {}
impl Unshared for Suggest {}

impl<R> Batched<R>
where
    R: ReadItems<Check> + ReadItems<Relations> + ReadItems<CountsOf> + Clone,
{
    /// Answers from `inner`; `shared` runs the shared statements, with `lanes` lanes for each kind of question.
    pub fn new(inner: R, shared: &R, lanes: usize) -> Self {
        Self {
            inner,
            lanes,
            checks: Arc::new(Lanes::new(QuestionName::Check, shared.clone())),
            relations: Arc::new(Lanes::new(QuestionName::Relations, shared.clone())),
            counts: Arc::new(Lanes::new(QuestionName::Counts, shared.clone())),
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

impl<R> Batched<R> {
    async fn share<Q: Shared>(
        &self,
        lanes: &Lanes<Q, R>,
        question: &Q,
        cx: Context<'_>,
    ) -> ReadResult<Q::Answer>
    where
        R: Read<Q> + ReadItems<Q>,
    {
        if question.items() == 0 || self.lanes == 0 {
            return self.inner.read(question, cx).await;
        }
        lanes.get(question, cx).await
    }
}

impl<R: Read<Check> + ReadItems<Check>> Read<Check> for Batched<R> {
    async fn read(&self, check: &Check, cx: Context<'_>) -> ReadResult<Vec<bool>> {
        self.share(&self.checks, check, cx).await
    }
}

impl<R: Read<Relations> + ReadItems<Relations>> Read<Relations> for Batched<R> {
    async fn read(&self, asked: &Relations, cx: Context<'_>) -> ReadResult<Vec<Relation>> {
        self.share(&self.relations, asked, cx).await
    }
}

impl<R: Read<CountsOf> + ReadItems<CountsOf>> Read<CountsOf> for Batched<R> {
    async fn read(&self, asked: &CountsOf, cx: Context<'_>) -> ReadResult<Vec<Counts>> {
        self.share(&self.counts, asked, cx).await
    }
}

impl<Q: Unshared, R: Read<Q>> Read<Q> for Batched<R> {
    async fn read(&self, question: &Q, cx: Context<'_>) -> ReadResult<Q::Answer> {
        self.inner.read(question, cx).await
    }
}
