//! Makes answers to multi-hop questions exact.
//!
//! Recent events cannot be applied to such an answer, because it does not contain the edges to look up. But it names
//! the edges that it depends on, and the ring knows when those changed. If none changed between the two revisions of
//! the answer, it is exact up to the revision before the next change. Otherwise the read is repeated when the read
//! model shows its next revision: its projector then pauses, so that a read in the pause is of one revision.

use proto::{Revision, Token};
use tokio::time::Instant;

use super::Overlaid;
use super::apply::MOST_CHANGES;
use crate::metrics::OVERLAY_REPEATS;
use crate::queries::{
    Context, CountsOf, Dependency, ListAt, MultiHop, Page, Part, Question, Read, ReadResult, Relations,
};

impl<R> Overlaid<R> {
    /// Repeats the read until none of the edges that the answer depends on changed during it.
    async fn settle<Q: Question>(
        &self,
        question: &Q,
        cx: Context<'_>,
        dependencies: impl Fn(&Q::Answer) -> Vec<Dependency> + Send,
    ) -> ReadResult<Q::Answer>
    where
        R: Read<Q>,
    {
        let began = Instant::now();
        // Half of the time is for waiting, the other half for the next read.
        let (until, repeat_until) = (began + cx.within, began + cx.within / 2);
        loop {
            let answer = self.inner.read(question, cx.until(until)?).await?;
            self.catch_up(answer.bounds(), until).await;
            match self.unchanged(answer.bounds(), &dependencies(&answer.value)) {
                Some(position) => return Ok(self.patched(answer, position, 0)),
                None if answer.as_of == answer.target => return self.raw(answer),
                None => {}
            }
            let shown = Token::new(answer.as_of.epoch, answer.as_of.revision.next());
            if !self.replica.reach(shown, repeat_until).await {
                return Err(self.not_exact());
            }
            metrics::counter!(OVERLAY_REPEATS).increment(1);
        }
    }

    /// The newest revision at which the answer is exact; `None` if its edges changed during the read, or if the ring
    /// does not know.
    fn unchanged(&self, (as_of, target): (Token, Token), dependencies: &[Dependency]) -> Option<Token> {
        let oldest = self.over(as_of, target, |ring| {
            let mut oldest = None;
            for (user, side) in dependencies {
                let change = ring.next_change(*user, *side, as_of.revision, MOST_CHANGES).ok()?;
                oldest = [oldest, change].into_iter().flatten().min();
            }
            Some(oldest)
        });
        match oldest? {
            (position, None) => Some(position),
            (_, Some(change)) if change <= target.revision => None,
            (position, Some(change)) => Some(Token::new(position.epoch, Revision(change.0 - 1))),
        }
    }
}

impl<Q: MultiHop, R: Read<Q>> Read<Q> for Overlaid<R> {
    async fn read(&self, question: &Q, cx: Context<'_>) -> ReadResult<Q::Answer> {
        self.settle(question, cx, |answer| question.dependencies(answer)).await
    }
}

impl<R> Read<ListAt> for Overlaid<R>
where
    R: Read<ListAt> + Read<Page> + Read<CountsOf> + Read<Relations>,
{
    async fn read(&self, at: &ListAt, cx: Context<'_>) -> ReadResult<Part> {
        if at.is_near() {
            return self.near(at, cx).await;
        }
        self.settle(at, cx, |_| at.dependencies()).await
    }
}
