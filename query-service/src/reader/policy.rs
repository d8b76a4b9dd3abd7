//! Chooses the store that answers.
//!
//! Owns: the order (the read model first, then the source of truth within its budget, then a refusal), what makes the
//! read model unfit for a question, and the time that each store gets. It must not know any SQL, Cypher or gRPC.
//! What can go wrong: see [`Refusal`].
//!
//! A layer that answers from memory, or that merges questions in flight, belongs between this and the read model: it
//! is a [`Reader`] itself.

use std::sync::Arc;
use std::time::Duration;

use proto::Token;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::budget::{Budget, Exhausted, Limit};
use super::question::Scope;
use super::trail::{self, Step, Trail};
use super::{Error, Question, ReadSource, Reader, Source, Versioned};
use crate::metrics::{FALLBACKS, FRESHNESS_WAIT, READS, REFUSALS, SECONDS};
use crate::pipeline::{Checkpoint, Horizon, Recent, Replica, State};

/// How the policy weighs time.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The read model is slow when it takes longer.
    pub neo4j_timeout: Duration,
    /// Longest wait for the read model to reach a token.
    pub freshness_wait: Duration,
    /// A read model that misses something of this age is not asked.
    pub max_staleness: Duration,
    /// Which stores may be asked at all.
    pub read_source: ReadSource,
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// It must hold everything up to here.
    pub at_least: Option<Token>,
    /// It must come from the source of truth.
    pub truth: bool,
}

/// An answer and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// What it holds everything up to.
    pub as_of: Token,
    /// The store.
    pub source: Source,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token is of another history.
    #[error("is of another epoch")]
    EpochChanged,
    /// The token is beyond the newest revision.
    #[error("is beyond the newest revision")]
    TokenAhead,
    /// The read model cannot answer, and the source of truth takes no more.
    #[error("the budget of reads from the source of truth is used up")]
    BudgetExhausted {
        /// Which limit.
        limit: Limit,
        /// When to come back.
        retry_after: Duration,
    },
    /// No store can answer.
    #[error("no store can answer now")]
    Unavailable {
        /// When to come back.
        retry_after: Duration,
    },
    /// The time of the call is over.
    #[error("the deadline of the call passed")]
    DeadlineExceeded,
}

/// Why the read model does not answer a question. A closed set, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fallback {
    /// The caller wants the source of truth.
    Asked,
    /// The operator wants the source of truth alone.
    Configured,
    /// The breaker is open.
    Down,
    /// No checkpoint.
    NotBuilt,
    /// The first build is not finished.
    NotComplete,
    /// It is too far behind for anybody.
    Stale,
    /// It is behind the caller's token.
    Behind,
    /// Only the source of truth can tell whether the token's epoch exists.
    Epoch,
    /// Its answer could not be brought to one revision.
    NotExact,
    /// It did not answer in time.
    Slow,
    /// It failed.
    Failed,
}

impl Fallback {
    fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Configured => "configured",
            Self::Down => "down",
            Self::NotBuilt => "not_built",
            Self::NotComplete => "not_complete",
            Self::Stale => "stale",
            Self::Behind => "behind",
            Self::Epoch => "epoch",
            Self::NotExact => "not_exact",
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}

/// A question over more than one hop may take so many times as long as others.
const MULTI_TIMES: u32 = 4;

/// A refusal tells everybody to come back after about this time.
const COME_BACK: Duration = Duration::from_millis(250);

/// A store and its breaker.
pub struct Store {
    /// Asks it.
    pub reader: Arc<dyn Reader>,
    /// Whether it is asked.
    pub breaker: Arc<Breaker>,
}

/// Chooses the store that answers. Shared by all calls.
pub struct Policy {
    /// The read model.
    pub neo4j: Store,
    /// The source of truth.
    pub postgres: Store,
    /// How far the read model is.
    pub replica: Arc<Replica>,
    /// How far this process has read the events; answers of the read model are brought up to there.
    pub recent: Arc<Recent>,
    /// How far the source of truth is.
    pub horizon: Arc<Horizon>,
    /// What the source of truth takes over.
    pub budget: Budget,
    /// How time is weighed.
    pub settings: Settings,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Policy {
    /// Answers a question, or says why not.
    pub async fn answer<Q: Question>(
        &self,
        question: &Q,
        need: Need,
        deadline: Instant,
        trail: &Trail,
    ) -> Result<Answer<Q::Answer>, Refusal> {
        let answer = self.choose(question, need, deadline, trail).await;
        match &answer {
            Ok(answer) => {
                metrics::counter!(READS, "question" => question.name(), "source" => answer.source.name())
                    .increment(1);
            }
            Err(refusal) => metrics::counter!(REFUSALS, "reason" => refusal.name()).increment(1),
        }
        answer
    }

    /// Why the read model is not asked now, in words; `None` if it is.
    pub fn neo4j_problem(&self) -> Option<&'static str> {
        if self.settings.read_source == ReadSource::Postgres {
            return Some("reads are set to PostgreSQL alone (READ_SOURCE)");
        }
        match (self.neo4j.breaker.open(), self.neo4j_unfit(Scope::Single, Instant::now())) {
            (Some(cause), _) => Some(cause.text()),
            (None, None) => None,
            (None, Some(Fallback::NotBuilt)) => {
                Some("it has no checkpoint: nothing was projected, or its data is lost")
            }
            (None, Some(Fallback::Stale)) => Some("it is too far behind"),
            (None, Some(_)) => Some("it is not complete"),
        }
    }

    /// Why the source of truth is not asked now, in words; `None` if it is.
    pub fn postgres_problem(&self) -> Option<&'static str> {
        if self.settings.read_source == ReadSource::Neo4j {
            return Some("reads are set to Neo4j alone (READ_SOURCE)");
        }
        self.postgres.breaker.open().map(|cause| cause.text())
    }

    async fn choose<Q: Question>(
        &self,
        question: &Q,
        need: Need,
        deadline: Instant,
        trail: &Trail,
    ) -> Result<Answer<Q::Answer>, Refusal> {
        let source = self.settings.read_source;
        let reason = if source == ReadSource::Postgres {
            Fallback::Configured
        } else if need.truth {
            Fallback::Asked
        } else {
            match self.ask_neo4j(question, need.at_least, deadline, trail).await? {
                Ok(answer) => return Ok(answer),
                Err(reason) => reason,
            }
        };
        if question.scope() == Scope::ReadModel {
            tracing::debug!(
                reason = reason.name(),
                "the source of truth is not asked: it cannot answer this"
            );
            return Err(unavailable());
        }
        if source == ReadSource::Neo4j {
            tracing::debug!(reason = reason.name(), "the source of truth is not asked: READ_SOURCE is neo4j");
            return Err(unavailable());
        }
        metrics::counter!(FALLBACKS, "reason" => reason.name()).increment(1);
        trail.fell_back(reason.name());
        self.ask_postgres(question, need.at_least, deadline, trail).await
    }

    /// Asks the read model. The inner error says why the source of truth has to be asked instead.
    async fn ask_neo4j<Q: Question>(
        &self,
        question: &Q,
        at_least: Option<Token>,
        deadline: Instant,
        trail: &Trail,
    ) -> Result<Result<Answer<Q::Answer>, Fallback>, Refusal> {
        if let Some(token) = at_least {
            match self.horizon.epoch() {
                Some(epoch) if token.epoch < epoch => return Err(Refusal::EpochChanged),
                Some(epoch) if token.epoch == epoch => {}
                _ => return Ok(Err(Fallback::Epoch)),
            }
        }
        if self.neo4j.breaker.open().is_some() {
            return Ok(Err(Fallback::Down));
        }
        if let Some(reason) = self.neo4j_unfit(question.scope(), Instant::now()) {
            return Ok(Err(reason));
        }
        if let Some(token) = at_least
            && !self.reached(token, question.scope(), deadline).await
        {
            return Ok(Err(Fallback::Behind));
        }
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(Refusal::DeadlineExceeded);
        }
        // A third of the time is kept for the source of truth.
        let longest = match question.scope() {
            Scope::Single => self.settings.neo4j_timeout,
            Scope::Multi | Scope::ReadModel => self.settings.neo4j_timeout * MULTI_TIMES,
        };
        let within = longest.min(remaining * 2 / 3);
        let began = self.replica.begin_look_up();
        let outcome = timed(question, &self.neo4j, Source::Neo4j, within, trail).await;
        let now = Instant::now();
        Ok(match outcome {
            Ok(answer) => {
                self.neo4j.breaker.success(now);
                self.replica.answered(answer.origin.store_as_of.unwrap_or(answer.as_of));
                self.horizon.observe(answer.as_of, now);
                self.judge(answer, at_least)?
            }
            // The server answered: these are no failures of it.
            Err(Error::NotBuilt) => {
                self.replica.looked_up(None, began);
                Err(Fallback::NotBuilt)
            }
            Err(Error::NotComplete) => Err(Fallback::NotComplete),
            Err(Error::NotExact) => Err(Fallback::NotExact),
            Err(Error::TimedOut) => {
                // A caller that gave little time proves nothing about the store, nor does a question that looks at much.
                if within == self.settings.neo4j_timeout && question.scope() == Scope::Single {
                    self.neo4j.breaker.failure(now);
                }
                Err(Fallback::Slow)
            }
            Err(error @ (Error::Failed(_) | Error::Unchecked)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the read model failed");
                self.neo4j.breaker.failure(now);
                Err(Fallback::Failed)
            }
        })
    }

    /// What the last known checkpoint says against asking the read model at all.
    fn neo4j_unfit(&self, scope: Scope, now: Instant) -> Option<Fallback> {
        match self.replica.state() {
            State::NotBuilt => Some(Fallback::NotBuilt),
            // The breaker closes after the first look-up only; nothing is known for a moment at most.
            State::Unknown => Some(Fallback::NotComplete),
            State::Built(Checkpoint { complete: false, .. }) => Some(Fallback::NotComplete),
            State::Built(Checkpoint { visible, .. }) => {
                let stale = self.horizon.staleness(visible, now) > self.settings.max_staleness;
                // What it misses is known here, and laid over its answers about single hops.
                let made_up_for = scope == Scope::Single && self.recent.ring().covers(visible);
                (stale && !made_up_for).then_some(Fallback::Stale)
            }
        }
    }

    /// Waits for this process, or the read model, to reach a token: events that were read here are laid over what the
    /// read model answers about single hops. But not so long that no time is left for the source of truth.
    async fn reached(&self, token: Token, scope: Scope, deadline: Instant) -> bool {
        let overlaid = scope == Scope::Single;
        if overlaid && self.recent.position().is_some_and(|position| position >= token) {
            return true;
        }
        if let State::Built(checkpoint) = self.replica.state()
            && checkpoint.visible >= token
        {
            return true;
        }
        let began = Instant::now();
        let wait = self.settings.freshness_wait.min(deadline.saturating_duration_since(began) / 2);
        let until = began + wait;
        // Either comes back in vain at `until` only.
        let reached = tokio::select! {
            reached = self.recent.reach(token, until), if overlaid => reached,
            reached = self.replica.reach(token, until) => reached,
        };
        metrics::histogram!(FRESHNESS_WAIT).record(began.elapsed());
        reached
    }

    /// The proof of an answer's freshness is the checkpoint that it was read with, not what was heard before.
    fn judge<T>(
        &self,
        answer: Versioned<T>,
        at_least: Option<Token>,
    ) -> Result<Result<Answer<T>, Fallback>, Refusal> {
        let as_of = answer.as_of;
        if self.horizon.epoch().is_some_and(|epoch| as_of.epoch < epoch) {
            return Ok(Err(Fallback::Stale));
        }
        match at_least {
            Some(token) if token.epoch < as_of.epoch => Err(Refusal::EpochChanged),
            Some(token) if as_of < token => Ok(Err(Fallback::Behind)),
            _ => Ok(Ok(Answer { value: answer.value, as_of, source: Source::Neo4j })),
        }
    }

    async fn ask_postgres<Q: Question>(
        &self,
        question: &Q,
        at_least: Option<Token>,
        deadline: Instant,
        trail: &Trail,
    ) -> Result<Answer<Q::Answer>, Refusal> {
        if self.postgres.breaker.open().is_some() {
            return Err(unavailable());
        }
        let _place = match self.settings.read_source {
            ReadSource::Postgres => self.budget.place(),
            ReadSource::Auto | ReadSource::Neo4j => self.budget.admit(question.cells()),
        }
        .map_err(exhausted)?;
        let within = deadline.saturating_duration_since(Instant::now());
        if within.is_zero() {
            return Err(Refusal::DeadlineExceeded);
        }
        let outcome = timed(question, &self.postgres, Source::Postgres, within, trail).await;
        let now = Instant::now();
        let answer = match outcome {
            Ok(answer) => answer,
            Err(Error::TimedOut) if now >= deadline => return Err(Refusal::DeadlineExceeded),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the source of truth did not answer"
                );
                self.postgres.breaker.failure(now);
                return Err(unavailable());
            }
        };
        self.postgres.breaker.success(now);
        self.horizon.observe(answer.as_of, now);
        match at_least {
            Some(token) if token.epoch != answer.as_of.epoch => Err(Refusal::EpochChanged),
            Some(token) if token > answer.as_of => Err(Refusal::TokenAhead),
            _ => Ok(Answer { value: answer.value, as_of: answer.as_of, source: Source::Postgres }),
        }
    }
}

impl Refusal {
    fn name(&self) -> &'static str {
        match self {
            Self::EpochChanged => "epoch_changed",
            Self::TokenAhead => "token_ahead",
            Self::BudgetExhausted { limit: Limit::Rate, .. } => "budget_rate",
            Self::BudgetExhausted { limit: Limit::Concurrency, .. } => "budget_concurrency",
            Self::Unavailable { .. } => "unavailable",
            Self::DeadlineExceeded => "deadline",
        }
    }
}

async fn timed<Q: Question>(
    question: &Q,
    store: &Store,
    source: Source,
    within: Duration,
    trail: &Trail,
) -> Result<Versioned<Q::Answer>, Error> {
    let began = Instant::now();
    let outcome = question.ask(store.reader.as_ref(), within).await;
    let took = began.elapsed();
    let label = trail::outcome(&outcome);
    metrics::histogram!(SECONDS, "question" => question.name(), "source" => source.name(), "outcome" => label)
        .record(took);
    trail.step(|| Step::of(source, question.name(), took, &outcome));
    outcome
}

fn exhausted(error: Exhausted) -> Refusal {
    Refusal::BudgetExhausted { limit: error.limit, retry_after: jittered(error.retry_after) }
}

fn unavailable() -> Refusal {
    Refusal::Unavailable { retry_after: jittered(COME_BACK) }
}

/// One to two times as long, so that those who were refused together do not come back together.
fn jittered(after: Duration) -> Duration {
    after.mul_f64(1.0 + rand::random::<f64>())
}
