//! Checks, relations and counts that are in flight at the same time travel as one statement.
//!
//! Over Bolt a round trip costs far more than a look-up in an index, so a hundred checks in one statement cost little
//! more than one. Lists are answered one by one: each already is one statement of many rows.

pub mod lanes;
#[cfg(test)]
mod tests;

use service_kit::trace::Parent;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::lanes::Lanes;
use crate::queries::{
    Check, Counts, CountsOf, Error, Known, ListAt, Page, Question, QuestionName, Read, ReadItems, Relation,
    Relations, SeenPage, Shared, Sift, Suggest, Union, Versioned,
};

/// A read model whose small questions share statements. Clones share the lanes.
#[derive(Clone)]
pub struct Batched<R> {
    inner: R,
    /// With no lanes, each question has a statement of its own.
    lanes: usize,
    checks: Arc<Lanes<Check, R>>,
    relations: Arc<Lanes<Relations, R>>,
    counts: Arc<Lanes<CountsOf, R>>,
}

impl<R> std::fmt::Debug for Batched<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batched")
    }
}

/// Questions that have statements of their own.
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
    /// Answers from `inner`; `shared` runs the statements that questions share, over `lanes` lanes for each kind of them.
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
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Q::Answer>, Error>
    where
        R: Read<Q> + ReadItems<Q>,
    {
        if question.items() == 0 || self.lanes == 0 {
            return self.inner.read(question, within, parent).await;
        }
        lanes.get(question, within, parent).await
    }
}

impl<R: Read<Check> + ReadItems<Check>> Read<Check> for Batched<R> {
    async fn read(
        &self,
        check: &Check,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        self.share(&self.checks, check, within, parent).await
    }
}

impl<R: Read<Relations> + ReadItems<Relations>> Read<Relations> for Batched<R> {
    async fn read(
        &self,
        asked: &Relations,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<Relation>>, Error> {
        self.share(&self.relations, asked, within, parent).await
    }
}

impl<R: Read<CountsOf> + ReadItems<CountsOf>> Read<CountsOf> for Batched<R> {
    async fn read(
        &self,
        asked: &CountsOf,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Vec<Counts>>, Error> {
        self.share(&self.counts, asked, within, parent).await
    }
}

impl<Q: Unshared, R: Read<Q>> Read<Q> for Batched<R> {
    async fn read(
        &self,
        question: &Q,
        within: Duration,
        parent: &Parent,
    ) -> Result<Versioned<Q::Answer>, Error> {
        self.inner.read(question, within, parent).await
    }
}
