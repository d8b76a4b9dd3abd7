//! Chooses the replica of the read model that gets a read.
//!
//! Among those fit for a question it prefers the ones that have reached the caller's token, then those that do not lag,
//! then the one with the fewest calls under way, in turn. What is known of a replica may be old; the answer shows it,
//! and another replica is picked.
//!
//! Each process counts its own calls only. So processes do not all switch to the replica that just became free, and a
//! replica that is slow for one of them gets fewer reads of that one.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use metrics::Counter;
use proto::Token;
use tokio::time::Instant;

use super::{Breaker, Replica, State};
use crate::metrics::REPLICA_ANSWERS;
use crate::queries::{Checkpoint, Outcome, Scope};
use crate::recent::{HeadTracker, Recent};

/// How far behind a replica may be.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// A replica lagging by more gets no reads, unless the recent events cover what it lacks.
    pub max_staleness: Duration,
    /// A replica lagging by more is used only when no other replica is available.
    pub max_lag: Duration,
}

/// Why a replica gets no reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its breaker is open.
    Down,
    /// It has no checkpoint.
    NotBuilt,
    /// Its first build is not finished.
    NotComplete,
    /// It is too far behind.
    Stale,
    /// It is of another epoch or another database.
    OtherHistory,
}

/// One replica: its reader, and what is known of it.
pub struct ReadModel<N> {
    /// Asks it.
    pub reader: N,
    /// Whether it gets reads.
    pub breaker: Arc<Breaker>,
    /// How far it is.
    pub replica: Arc<Replica>,
    calls: AtomicUsize,
    /// Made when they first count.
    answers: [OnceLock<Counter>; Outcome::COUNT],
}

impl<N> ReadModel<N> {
    /// A replica that has had no reads yet.
    pub fn new(reader: N, breaker: Arc<Breaker>, replica: Arc<Replica>) -> Self {
        Self { reader, breaker, replica, calls: AtomicUsize::new(0), answers: Default::default() }
    }

    /// Counts how a question to it ended.
    pub fn count(&self, outcome: Outcome) {
        let make = || {
            let replica = Arc::clone(self.replica.projector());
            metrics::counter!(REPLICA_ANSWERS, "replica" => replica, "outcome" => outcome.name())
        };
        self.answers[outcome as usize].get_or_init(make).increment(1);
    }
}

/// How a replica looks from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaHealth {
    /// The name of its projector.
    pub name: Arc<str>,
    /// Why it gets no reads, in words; none if it gets them.
    pub problem: Option<Cow<'static, str>>,
    /// The newest revision that it is known to show.
    pub visible: Option<Token>,
    /// For how long something newer is known.
    pub staleness: Duration,
    /// Other replicas are preferred.
    pub lagging: bool,
}

/// All replicas. Shared by all calls.
pub struct Replicas<N> {
    all: Vec<ReadModel<N>>,
    heads: Arc<HeadTracker>,
    recent: Arc<Recent>,
    tolerance: Tolerance,
    turn: AtomicUsize,
}

/// A replica that was picked, and counts as busy until this is dropped.
pub struct Picked<'a, N> {
    /// The replica.
    pub model: &'a ReadModel<N>,
    /// How many could have been picked, this one included.
    pub choice: usize,
    number: usize,
}

impl<N> Drop for Picked<'_, N> {
    fn drop(&mut self) {
        self.model.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The replicas that a question was put to already.
#[derive(Debug, Default)]
pub struct Tried(Vec<usize>);

impl Tried {
    /// This one got the read.
    pub fn add<N>(&mut self, picked: &Picked<'_, N>) {
        self.0.push(picked.number);
    }
}

impl<N> Replicas<N> {
    /// Chooses among these by what is known of the head and of recent events.
    pub fn new(
        all: Vec<ReadModel<N>>,
        heads: Arc<HeadTracker>,
        recent: Arc<Recent>,
        tolerance: Tolerance,
    ) -> Self {
        Self { all, heads, recent, tolerance, turn: AtomicUsize::new(0) }
    }

    /// Why no replica can be used: the reason of the last one. `None` if any can be.
    pub fn none_fit(&self, scope: Scope, now: Instant) -> Option<Unfit> {
        let mut last = Unfit::Down;
        for model in &self.all {
            last = self.unfit(model, scope, now)?;
        }
        Some(last)
    }

    /// Picks one for a question; `None` if each was tried or is unfit by now.
    pub fn pick(
        &self,
        scope: Scope,
        at_least: Option<Token>,
        tried: &Tried,
        now: Instant,
    ) -> Option<Picked<'_, N>> {
        let ours = self.recent.position();
        // Only a new question moves the turn on.
        let first = self.turn.fetch_add(usize::from(tried.0.is_empty()), Ordering::Relaxed);
        let mut choice = 0;
        let mut best = None;
        for step in 0..self.all.len() {
            let number = first.wrapping_add(step) % self.all.len();
            let model = &self.all[number];
            if tried.0.contains(&number) || self.unfit(model, scope, now).is_some() {
                continue;
            }
            choice += 1;
            let behind = at_least.is_some_and(|token| {
                // Recent events are applied to answers about single hops, so they need not be in the replica.
                let made_up_for = scope == Scope::Single && ours.is_some_and(|ours| ours >= token);
                !made_up_for && model.replica.visible().is_none_or(|visible| visible < token)
            });
            let rank = (behind, self.lags(model, now), model.calls.load(Ordering::Relaxed));
            if best.as_ref().is_none_or(|(best, _)| rank < *best) {
                best = Some((rank, number));
            }
        }
        let (_, number) = best?;
        let model = &self.all[number];
        model.calls.fetch_add(1, Ordering::Relaxed);
        Some(Picked { model, choice, number })
    }

    /// One that is fit is known to have reached a token.
    pub fn reached(&self, scope: Scope, token: Token, now: Instant) -> bool {
        self.all.iter().any(|model| {
            model.replica.visible().is_some_and(|visible| visible >= token)
                && self.unfit(model, scope, now).is_none()
        })
    }

    /// Waits until one that is fit has reached a token; false if none has at `until`, or none is fit.
    pub async fn reach(&self, scope: Scope, token: Token, now: Instant, until: Instant) -> bool {
        let fit = self.all.iter().filter(|model| self.unfit(model, scope, now).is_none());
        let mut waits: FuturesUnordered<_> = fit.map(|model| model.replica.reach(token, until)).collect();
        while let Some(reached) = waits.next().await {
            if reached {
                return true;
            }
        }
        false
    }

    /// How each looks now, in their order.
    pub fn health(&self, now: Instant) -> impl Iterator<Item = ReplicaHealth> {
        self.all.iter().map(move |model| {
            let visible = model.replica.visible();
            ReplicaHealth {
                name: Arc::clone(model.replica.projector()),
                problem: self.problem(model, now),
                visible,
                staleness: visible.map_or(Duration::ZERO, |visible| self.heads.staleness(visible, now)),
                lagging: self.lags(model, now),
            }
        })
    }

    /// Why it gets no reads, in words.
    fn problem(&self, model: &ReadModel<N>, now: Instant) -> Option<Cow<'static, str>> {
        if let Some(problem) = model.breaker.problem() {
            return Some(problem);
        }
        let problem = match self.unfit(model, Scope::Single, now)? {
            Unfit::NotBuilt => "it has no checkpoint: nothing was projected, or its data is lost",
            Unfit::Stale => "it is too far behind",
            Unfit::OtherHistory => "it is of another epoch or another database",
            Unfit::Down | Unfit::NotComplete => "it is not complete",
        };
        Some(problem.into())
    }

    /// What speaks against asking it at all.
    fn unfit(&self, model: &ReadModel<N>, scope: Scope, now: Instant) -> Option<Unfit> {
        if model.breaker.open().is_some() {
            return Some(Unfit::Down);
        }
        let (state, database) = model.replica.known();
        match state {
            State::NotBuilt => Some(Unfit::NotBuilt),
            // The breaker closes after the first look-up only; nothing is known for a moment at most.
            State::Unknown => Some(Unfit::NotComplete),
            State::Built(Checkpoint { visible, .. }) if !self.heads.same_history(visible, database) => {
                Some(Unfit::OtherHistory)
            }
            State::Built(Checkpoint { complete: false, .. }) => Some(Unfit::NotComplete),
            State::Built(Checkpoint { visible, .. }) => {
                let stale = self.heads.is_staler(visible, self.tolerance.max_staleness, now);
                // What it misses is known here, and applied to its answers about single hops.
                let made_up_for = scope == Scope::Single && self.recent.ring().covers(visible);
                (stale && !made_up_for).then_some(Unfit::Stale)
            }
        }
    }

    fn lags(&self, model: &ReadModel<N>, now: Instant) -> bool {
        model.replica.visible().is_some_and(|visible| {
            // What it misses may be old.
            self.heads.lacks_age(visible, now) || self.heads.is_staler(visible, self.tolerance.max_lag, now)
        })
    }
}

#[cfg(test)]
impl<N> Replicas<N> {
    /// One of them.
    pub fn get(&self, number: usize) -> &ReadModel<N> {
        &self.all[number]
    }
}
