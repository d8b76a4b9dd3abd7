//! Makes answers over several hops exact.
//!
//! Recent events cannot be applied to such an answer, for the edges that would have to be looked up are not in it. But
//! it names the edges that it depends on, and the ring knows when those changed. If none changed between the revisions
//! that the answer lies between, it is exact up to the revision before the next change. Otherwise the read is repeated
//! when the read model shows its next revision: its projector then pauses, and what is read meanwhile is of one revision.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use proto::{Revision, Token};
use tokio::time::Instant;

use super::lay::MOST_CHANGES;
use super::{Overlaid, as_it_is, laid, left, not_exact};
use crate::metrics::OVERLAY_REPEATS;
use crate::queries::{
    Dependency, Error, Known, KnownRows, ListAt, MultiReader, Part, Reader, Sift, Sifted, Suggest, Suggested,
    Union, United, Versioned,
};

impl<R: Reader> Overlaid<R> {
    fn hops(&self) -> Result<&dyn MultiReader, Error> {
        self.inner.multi().ok_or_else(|| Error::failed("this store answers single hops only"))
    }

    /// Asks until none of the edges that the answer depends on changed while it was read.
    async fn settle<'a, T: Send + Sync>(
        &'a self,
        within: Duration,
        ask: impl Fn(&'a dyn MultiReader, Duration) -> BoxFuture<'a, Result<Versioned<T>, Error>> + Send + Sync,
        dependencies: impl Fn(&T) -> Vec<Dependency> + Send + Sync,
    ) -> Result<Versioned<T>, Error> {
        let (hops, began) = (self.hops()?, Instant::now());
        // Half of the time is for waiting, the other half for the read that follows.
        let (until, repeat_until) = (began + within, began + within / 2);
        loop {
            let answer = ask(hops, left(until)?).await?;
            self.catch_up(&answer, until).await;
            match self.unchanged(&answer, &dependencies(&answer.value)) {
                Some(position) => return Ok(laid(answer, position, 0)),
                None if answer.as_of == answer.target => return as_it_is(answer),
                None => {}
            }
            let shown = Token::new(answer.as_of.epoch, answer.as_of.revision.next());
            if !self.replica.reach(shown, repeat_until).await {
                return Err(not_exact());
            }
            metrics::counter!(OVERLAY_REPEATS).increment(1);
        }
    }

    /// The newest revision that the answer is exact at; none if what it depends on changed while it was read, or if
    /// the ring does not know.
    fn unchanged<T>(&self, answer: &Versioned<T>, dependencies: &[Dependency]) -> Option<Token> {
        let (since, target) = (answer.as_of.revision, answer.target.revision);
        let oldest = self.over(answer.as_of, answer.target, |ring| {
            let mut oldest = None;
            for (user, side) in dependencies {
                let change = ring.next_change(*user, *side, since, MOST_CHANGES).ok()?;
                oldest = [oldest, change].into_iter().flatten().min();
            }
            Some(oldest)
        });
        match oldest? {
            (position, None) => Some(position),
            (_, Some(change)) if change <= target => None,
            (position, Some(change)) => Some(Token::new(position.epoch, Revision(change.0 - 1))),
        }
    }
}

#[async_trait]
impl<R: Reader> MultiReader for Overlaid<R> {
    async fn sift(&self, sift: &Sift, within: Duration) -> Result<Versioned<Sifted>, Error> {
        self.settle(within, |hops, within| hops.sift(sift, within), |_| sift.dependencies()).await
    }

    async fn known(&self, known: &Known, within: Duration) -> Result<Versioned<KnownRows>, Error> {
        self.settle(within, |hops, within| hops.known(known, within), |_| known.dependencies()).await
    }

    async fn list_at(&self, at: &ListAt, within: Duration) -> Result<Versioned<Part>, Error> {
        if at.is_near() {
            return self.near(at, within).await;
        }
        self.settle(within, |hops, within| hops.list_at(at, within), |_| at.dependencies()).await
    }

    async fn union(&self, union: &Union, within: Duration) -> Result<Versioned<United>, Error> {
        self.settle(within, |hops, within| hops.union(union, within), |answer| union.dependencies(answer))
            .await
    }

    async fn suggest(&self, suggest: &Suggest, within: Duration) -> Result<Versioned<Suggested>, Error> {
        self.settle(
            within,
            |hops, within| hops.suggest(suggest, within),
            |answer| suggest.dependencies(answer),
        )
        .await
    }
}
