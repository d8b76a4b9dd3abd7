//! Makes answers of the read model exact: applies recent events to an answer that lies between two revisions, so that
//! it is of the revision that this process has reached. Lists that lose rows are read again with more.
//!
//! If the recent events do not reach back far enough, lag, or an account has too many changes, an answer of one
//! revision passes unchanged. Any other is [`Error::NotExact`].

mod apply;
mod hops;
mod near;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Histogram};
use proto::{Revision, Token, UserId};
use tokio::time::Instant;

use self::apply::{Part, Short};
use crate::metrics::{OVERLAID, OVERLAID_EVENTS, OVERLAY_WAIT};
use crate::queries::{
    Check, Context, Counts, CountsOf, Error, ListRow, Page, Question, Read, ReadResult, Relation, Relations,
    SeenPage, SeenRow, Side, Versioned,
};
use crate::recent::{Recent, Ring};
use crate::replicas::Replica;

/// Maximum number of repeats with more rows because a list lost some.
const ROUNDS: usize = 3;
/// Maximum number of rows that are read beyond those wanted. If recent events remove more, the read goes to another
/// store.
const MOST_EXTRA: usize = 2_000;

/// A read model with recent events applied to its answers.
pub struct Overlaid<R> {
    inner: R,
    recent: Arc<Recent>,
    replica: Arc<Replica>,
    /// Timeout of the wait for this process to read the events that may be in an answer.
    wait: Duration,
    /// Revision of the last answer; the next is rarely older.
    stood: AtomicU64,
    handles: Handles,
}

/// Metric handles of answers, created at first use.
#[derive(Default)]
struct Handles {
    answers: [OnceLock<Counter>; 4],
    events: OnceLock<Histogram>,
}

/// How an answer was treated.
#[derive(Clone, Copy)]
enum Became {
    Changed,
    Confirmed,
    Raw,
    NotExact,
}

impl Handles {
    fn count(&self, became: Became) {
        let outcome = match became {
            Became::Changed => "changed",
            Became::Confirmed => "confirmed",
            Became::Raw => "as_it_is",
            Became::NotExact => "not_exact",
        };
        let make = || metrics::counter!(OVERLAID, "outcome" => outcome);
        self.answers[became as usize].get_or_init(make).increment(1);
    }
}

impl<R> Overlaid<R> {
    pub fn new(inner: R, recent: Arc<Recent>, replica: Arc<Replica>, wait: Duration) -> Self {
        Self { inner, recent, replica, wait, stood: AtomicU64::new(u64::MAX), handles: Handles::default() }
    }

    /// Reads, and applies the events to an answer of fixed size.
    async fn read_patched<Q: Question>(
        &self,
        question: &Q,
        cx: Context<'_>,
        apply: impl FnOnce(&Ring, Revision, &mut Q::Answer) -> Option<usize> + Send,
    ) -> ReadResult<Q::Answer>
    where
        R: Read<Q>,
    {
        let until = Instant::now() + cx.within;
        let mut answer = self.inner.read(question, cx).await?;
        self.catch_up(answer.bounds(), until).await;
        let since = answer.as_of.revision;
        let value = &mut answer.value;
        match self.over(answer.as_of, answer.target, |ring| apply(ring, since, value)) {
            Some((position, touched)) => Ok(self.patched(answer, position, touched)),
            None => self.raw(answer),
        }
    }

    /// Waits until this process has read all events that may be in the answer. An answer of one revision is not worth a
    /// wait.
    async fn catch_up(&self, (as_of, target): (Token, Token), until: Instant) {
        self.stood.store(as_of.revision.0, Ordering::Relaxed);
        let there = self.recent.position().is_some_and(|position| position >= target);
        if there || as_of == target {
            return;
        }
        let began = Instant::now();
        self.recent.reach(target, until.min(began + self.wait)).await;
        metrics::histogram!(OVERLAY_WAIT).record(began.elapsed());
    }

    /// Runs `apply` if all events from `as_of` to at least `target` are known, and are not too many; the result is of
    /// the ring's position.
    fn over<U>(
        &self,
        as_of: Token,
        target: Token,
        apply: impl FnOnce(&Ring) -> Option<U>,
    ) -> Option<(Token, U)> {
        let ring = self.recent.ring();
        let position = ring.position()?;
        let known = position >= target && ring.covers(as_of);
        known.then(|| apply(&ring)).flatten().map(|outcome| (position, outcome))
    }

    /// The answer with events applied, at their position.
    fn patched<T>(&self, mut answer: Versioned<T>, position: Token, touched: usize) -> Versioned<T> {
        self.handles.count(if touched > 0 { Became::Changed } else { Became::Confirmed });
        // Far below 2^53.
        self.handles.events.get_or_init(|| metrics::histogram!(OVERLAID_EVENTS)).record(touched as f64);
        answer.origin.store_as_of = Some(answer.as_of);
        answer.origin.overlaid_events = u32::try_from(touched).unwrap_or(u32::MAX);
        (answer.as_of, answer.target) = (position, position);
        answer
    }

    /// The answer without recent events, if it is of one revision.
    fn raw<T>(&self, answer: Versioned<T>) -> ReadResult<T> {
        if answer.as_of != answer.target {
            return Err(self.not_exact());
        }
        self.handles.count(Became::Raw);
        Ok(answer)
    }

    fn not_exact(&self) -> Error {
        self.handles.count(Became::NotExact);
        Error::NotExact
    }

    /// Number of extra rows of the next read, given that of the last one.
    fn more(&self, extra: usize, Short { missing }: Short) -> Result<usize, Error> {
        // Twice as many, since others may be removed meanwhile.
        let wanted = extra + 2 * missing;
        if wanted > MOST_EXTRA { Err(self.not_exact()) } else { Ok(wanted) }
    }

    /// Estimated number of rows of a list that recent events remove.
    fn likely_removals(&self, user: UserId, side: Side) -> usize {
        let since = Revision(self.stood.load(Ordering::Relaxed));
        self.recent.ring().removals(user, side, since, apply::MOST_CHANGES).min(MOST_EXTRA)
    }
}

impl<R: Read<Check>> Read<Check> for Overlaid<R> {
    async fn read(&self, check: &Check, cx: Context<'_>) -> ReadResult<Vec<bool>> {
        let apply = |ring: &Ring, since, value: &mut Vec<bool>| {
            apply::check(ring, since, check.viewer, &check.targets, value)
        };
        self.read_patched(check, cx, apply).await
    }
}

impl<R: Read<Relations>> Read<Relations> for Overlaid<R> {
    async fn read(&self, asked: &Relations, cx: Context<'_>) -> ReadResult<Vec<Relation>> {
        let apply = |ring: &Ring, since, value: &mut Vec<Relation>| {
            apply::relations(ring, since, asked.viewer, &asked.targets, value)
        };
        self.read_patched(asked, cx, apply).await
    }
}

impl<R: Read<CountsOf>> Read<CountsOf> for Overlaid<R> {
    async fn read(&self, asked: &CountsOf, cx: Context<'_>) -> ReadResult<Vec<Counts>> {
        let apply = |ring: &Ring, since, value: &mut Vec<Counts>| {
            Some(apply::counts(ring, since, &asked.users, value))
        };
        self.read_patched(asked, cx, apply).await
    }
}

impl<R: Read<Page>> Read<Page> for Overlaid<R> {
    async fn read(&self, page: &Page, cx: Context<'_>) -> ReadResult<Vec<ListRow>> {
        let Page { kind, user, before, limit } = *page;
        let until = Instant::now() + cx.within;
        let side = kind.side();
        let mut extra = self.likely_removals(user, side);
        for _ in 0..ROUNDS {
            let asked = limit + extra;
            let mut answer = self.inner.read(&Page { limit: asked, ..*page }, cx.until(until)?).await?;
            let part = Part { before, limit, more_below: answer.value.len() >= asked };
            self.catch_up(answer.bounds(), until).await;
            let outcome = self.over(answer.as_of, answer.target, |ring| {
                apply::list(ring, answer.as_of.revision, user, side, part, &answer.value)
            });
            match outcome {
                None => {
                    answer.value.truncate(limit);
                    return self.raw(answer);
                }
                Some((position, Ok((rows, touched)))) => {
                    return Ok(self.patched(answer.map(|_| rows), position, touched));
                }
                Some((_, Err(short))) => extra = self.more(extra, short)?,
            }
        }
        Err(self.not_exact())
    }
}

impl<R: Read<SeenPage> + Read<Relations>> Read<SeenPage> for Overlaid<R> {
    async fn read(&self, page: &SeenPage, cx: Context<'_>) -> ReadResult<Vec<SeenRow>> {
        let SeenPage { list, user, before, limit, viewer } = *page;
        let until = Instant::now() + cx.within;
        let side = list.kind().side();
        let mut extra = self.likely_removals(user, side);
        for _ in 0..ROUNDS {
            let asked = limit + extra;
            let mut answer = self.inner.read(&SeenPage { limit: asked, ..*page }, cx.until(until)?).await?;
            let part = Part { before, limit, more_below: answer.value.len() >= asked };
            self.catch_up(answer.bounds(), until).await;
            let rows: Vec<ListRow> = answer.value.iter().map(|seen| seen.row).collect();
            let known = Known::of(&answer.value);
            let since = answer.as_of.revision;
            let newcomers = self.over(answer.as_of, answer.target, |ring| {
                let patched = apply::list(ring, since, user, side, part, &rows)?;
                Some(patched.map(|(rows, _)| known.missing(&rows)))
            });
            let newcomers = match newcomers {
                None => {
                    answer.value.truncate(limit);
                    return self.raw(answer);
                }
                Some((_, Err(short))) => {
                    extra = self.more(extra, short)?;
                    continue;
                }
                Some((_, Ok(newcomers))) => newcomers,
            };
            // The viewer's edges to rows that recent events added have not been read yet.
            let theirs = if newcomers.is_empty() {
                None
            } else {
                let asked = Relations { viewer, targets: newcomers };
                let theirs = self.inner.read(&asked, cx.until(until)?).await?;
                self.catch_up(theirs.bounds(), until).await;
                Some((asked.targets, theirs))
            };
            let target =
                theirs.as_ref().map_or(answer.target, |(_, theirs)| theirs.target.max(answer.target));
            let page = self.over(answer.as_of, target, |ring| {
                // Applies events to both parts from their own revisions, so that they are of the same position.
                let mut known = known.clone();
                known.apply(ring, since, viewer)?;
                if let Some((newcomers, theirs)) = &theirs {
                    if !ring.covers(theirs.as_of) {
                        return Some(None);
                    }
                    let mut more = Known::new(newcomers, &theirs.value);
                    more.apply(ring, theirs.as_of.revision, viewer)?;
                    known.0.extend(more.0);
                }
                let Ok((rows, touched)) = apply::list(ring, since, user, side, part, &rows)? else {
                    return Some(None);
                };
                let seen: Option<Vec<SeenRow>> = rows
                    .into_iter()
                    .map(|row| Some(SeenRow { row, relation: *known.0.get(&row.user)? }))
                    .collect();
                Some(seen.map(|seen| (seen, touched)))
            });
            match page {
                None => {
                    answer.value.truncate(limit);
                    return self.raw(answer);
                }
                Some((position, Some((rows, touched)))) => {
                    return Ok(self.patched(answer.map(|_| rows), position, touched));
                }
                // Rows were added or removed while those edges were read: repeat.
                Some((_, None)) => {}
            }
        }
        Err(self.not_exact())
    }
}

/// The links between a viewer and some accounts.
#[derive(Clone, Debug, Default)]
struct Known(HashMap<UserId, Relation>);

impl Known {
    fn new(users: &[UserId], relations: &[Relation]) -> Self {
        Self(users.iter().copied().zip(relations.iter().copied()).collect())
    }

    fn of(rows: &[SeenRow]) -> Self {
        Self(rows.iter().map(|seen| (seen.row.user, seen.relation)).collect())
    }

    fn missing(&self, rows: &[ListRow]) -> Vec<UserId> {
        rows.iter().map(|row| row.user).filter(|user| !self.0.contains_key(user)).collect()
    }

    /// `None` if the viewer has too many changes.
    fn apply(&mut self, ring: &Ring, since: Revision, viewer: UserId) -> Option<()> {
        let (users, mut relations): (Vec<UserId>, Vec<Relation>) =
            self.0.iter().map(|(u, r)| (*u, *r)).unzip();
        if apply::relations(ring, since, viewer, &users, &mut relations)? > 0 {
            *self = Self::new(&users, &relations);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
