//! Chooses the replica of the read model that receives a read.
//!
//! Among the replicas that are usable for a question, it prefers those that have reached the caller's token, then those
//! that do not lag, then the one with the fewest calls in flight, then round robin. The known state of a replica may be
//! old; if the answer shows that, another replica is chosen.
//!
//! Each process counts only its own calls. So processes do not all switch to the replica that just became free, and a
//! replica that is slow for one process receives fewer reads from that process only.

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

/// Limits of a replica's lag.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// A replica lagging by more receives no reads, unless the recent events cover what it lacks.
    pub max_staleness: Duration,
    /// A replica lagging by more is used only when no other replica is available.
    pub max_lag: Duration,
}

/// Why a replica receives no reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its breaker is open.
    Down,
    /// It has no checkpoint.
    NotBuilt,
    /// Its first build is not finished.
    NotComplete,
    /// It lags too far.
    Stale,
    /// It is of another epoch or another database.
    OtherHistory,
}

/// One replica: its reader, and its known state.
pub struct ReadModel<N> {
    /// Reader of this store.
    pub reader: N,
    pub breaker: Arc<Breaker>,
    pub replica: Arc<Replica>,
    calls: AtomicUsize,
    /// Created at first use.
    answers: [OnceLock<Counter>; Outcome::COUNT],
}

impl<N> ReadModel<N> {
    pub fn new(reader: N, breaker: Arc<Breaker>, replica: Arc<Replica>) -> Self {
        Self { reader, breaker, replica, calls: AtomicUsize::new(0), answers: Default::default() }
    }

    /// Counts the outcome of a question to it.
    pub fn count(&self, outcome: Outcome) {
        let make = || {
            let replica = Arc::clone(self.replica.projector());
            metrics::counter!(REPLICA_ANSWERS, "replica" => replica, "outcome" => outcome.name())
        };
        self.answers[outcome as usize].get_or_init(make).increment(1);
    }
}

/// The state of a replica, as seen from this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaHealth {
    pub name: Arc<str>,
    /// Why it receives no reads, for operators; `None` if it does.
    pub problem: Option<Cow<'static, str>>,
    /// The newest revision that it is known to show.
    pub visible: Option<Token>,
    /// Time for which a newer revision has been known.
    pub staleness: Duration,
    /// True if other replicas are preferred.
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

/// A chosen replica; counts as a call in flight until it is dropped.
pub struct Picked<'a, N> {
    pub model: &'a ReadModel<N>,
    /// Number of replicas that could have been chosen, including this one.
    pub choice: usize,
    number: usize,
}

impl<N> Drop for Picked<'_, N> {
    fn drop(&mut self) {
        self.model.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The replicas that a question was sent to already.
#[derive(Debug, Default)]
pub struct Tried(Vec<usize>);

impl Tried {
    /// Records that this replica received the read.
    pub fn add<N>(&mut self, picked: &Picked<'_, N>) {
        self.0.push(picked.number);
    }
}

impl<N> Replicas<N> {
    /// Chooses among these replicas by the known head and the recent events.
    pub fn new(
        all: Vec<ReadModel<N>>,
        heads: Arc<HeadTracker>,
        recent: Arc<Recent>,
        tolerance: Tolerance,
    ) -> Self {
        Self { all, heads, recent, tolerance, turn: AtomicUsize::new(0) }
    }

    /// Why no replica can be used: the reason of the last one. `None` if any can.
    pub fn none_fit(&self, scope: Scope, now: Instant) -> Option<Unfit> {
        let mut last = Unfit::Down;
        for model in &self.all {
            last = self.unfit(model, scope, now)?;
        }
        Some(last)
    }

    /// Chooses one for a question; `None` if each was tried or has become unusable.
    pub fn pick(
        &self,
        scope: Scope,
        at_least: Option<Token>,
        tried: &Tried,
        now: Instant,
    ) -> Option<Picked<'_, N>> {
        let ours = self.recent.position();
        // Only a new question advances the round robin.
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
                // Recent events are applied to single-hop answers, so the replica itself need not contain them.
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

    /// True if a usable replica is known to have reached a token.
    pub fn reached(&self, scope: Scope, token: Token, now: Instant) -> bool {
        self.all.iter().any(|model| {
            model.replica.visible().is_some_and(|visible| visible >= token)
                && self.unfit(model, scope, now).is_none()
        })
    }

    /// Waits until a usable replica has reached a token; false at `until`, or if none is usable.
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

    /// The state of each, in their order.
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

    /// Why it receives no reads, for operators.
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

    /// Why it must not receive reads at all.
    fn unfit(&self, model: &ReadModel<N>, scope: Scope, now: Instant) -> Option<Unfit> {
        if model.breaker.open().is_some() {
            return Some(Unfit::Down);
        }
        let (state, database) = model.replica.known();
        match state {
            State::NotBuilt => Some(Unfit::NotBuilt),
            // The breaker closes after the first look-up only; the state is unknown for a moment at most.
            State::Unknown => Some(Unfit::NotComplete),
            State::Built(Checkpoint { visible, .. }) if !self.heads.same_history(visible, database) => {
                Some(Unfit::OtherHistory)
            }
            State::Built(Checkpoint { complete: false, .. }) => Some(Unfit::NotComplete),
            State::Built(Checkpoint { visible, .. }) => {
                let stale = self.heads.is_staler(visible, self.tolerance.max_staleness, now);
                // This process knows what the replica lacks, and applies it to single-hop answers.
                let made_up_for = scope == Scope::Single && self.recent.ring().covers(visible);
                (stale && !made_up_for).then_some(Unfit::Stale)
            }
        }
    }

    fn lags(&self, model: &ReadModel<N>, now: Instant) -> bool {
        model.replica.visible().is_some_and(|visible| {
            // What it lacks may be old.
            self.heads.lacks_age(visible, now) || self.heads.is_staler(visible, self.tolerance.max_lag, now)
        })
    }
}

#[cfg(test)]
impl<N> Replicas<N> {
    /// One of the replicas.
    pub fn get(&self, number: usize) -> &ReadModel<N> {
        &self.all[number]
    }
}
