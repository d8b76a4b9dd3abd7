//! Chooses the store that answers: memory, a replica of the read model, another one if that fails, then PostgreSQL
//! within its budget. Otherwise the read fails with a [`Refusal`].

mod budget;
mod fallback;
mod handles;
mod past;
mod read_models;
mod read_source;
mod refusal;
mod stores;
mod trace;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use proto::Token;
use service_kit::shares::Holders;
use tokio::time::Instant;

#[cfg(test)]
pub use self::budget::Limit;
pub use self::budget::{Budget, CallerKey};
pub use self::fallback::Fallback;
pub use self::handles::Handles;
pub use self::past::PagesOfThePast;
pub use self::read_source::ReadSource;
pub use self::refusal::Refusal;
pub use self::stores::StoresWatch;
pub use self::trace::{QueryTrace, Step};
use crate::batching::Batched;
use crate::loading::Loading;
use crate::memory::{FromMemory, Memory};
use crate::metrics::{FALLBACKS, FRESHNESS_WAIT, REFUSALS};
use crate::neo4j::Neo4jReader;
use crate::overlay::Overlaid;
use crate::postgres::PostgresReader;
use crate::queries::{Answer, Context, Error, Outcome, Question, Read, ReadResult, Scope, Source};
use crate::recent::HeadTracker;
use crate::replicas::{Breaker, ReadModel, ReplicaHealth, Replicas};

/// Time limits of the router.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Timeout of a read from Neo4j.
    pub neo4j_timeout: Duration,
    /// Timeout of a read from PostgreSQL, regardless of its caller's deadline.
    pub postgres_timeout: Duration,
    /// Timeout of the wait for a read model to reach a token.
    pub freshness_wait: Duration,
    /// Memory that may lack something older does not answer.
    pub memory_max_lag: Duration,
    pub read_source: ReadSource,
}

/// The required freshness of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// It must include all changes up to this revision.
    pub at_least: Option<Token>,
    /// It must come from PostgreSQL.
    pub truth: bool,
    /// The caller whose share of the fallback budget the read uses.
    pub caller: CallerKey,
}

/// A read: required freshness, deadline and trace.
#[derive(Debug)]
pub struct Call {
    pub need: Need,
    pub deadline: Instant,
    pub trace: QueryTrace,
}

/// A store and its breaker.
pub struct Store<P> {
    /// Reader of this store.
    pub reader: P,
    pub breaker: Arc<Breaker>,
}

/// The read path over a replica of the read model.
pub type ReadModelReader = Overlaid<Loading<Batched<Neo4jReader>>>;

/// The router of the stores of this process.
pub type StoreRouter = Router<ReadModelReader, PostgresReader>;

/// Chooses the store that answers: a read model through `N`, or PostgreSQL through `P`. Shared by all calls.
pub struct Router<N, P> {
    pub replicas: Replicas<N>,
    pub postgres: Store<P>,
    /// Checked before a store; answers of read models are brought up to its position.
    pub memory: Memory,
    pub heads: Arc<HeadTracker>,
    /// The fallback budget.
    pub budget: Budget,
    /// Places held by each caller's list and multi-hop reads.
    pub lists: Holders<CallerKey>,
    /// Metric handles of reads.
    pub handles: Handles,
    pub settings: Settings,
}

impl<N, P> std::fmt::Debug for Router<N, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<N, P> Router<N, P> {
    /// Answers a question, or returns why not.
    pub async fn answer<Q: FromMemory>(&self, question: &Q, call: &Call) -> Result<Answer<Q::Answer>, Refusal>
    where
        N: Read<Q>,
        P: Read<Q>,
    {
        let answer = self.attempt(question, call).await;
        self.count(question, &answer);
        answer
    }

    /// Counts the outcome of a question.
    pub fn count<Q: Question>(&self, question: &Q, answer: &Result<Answer<Q::Answer>, Refusal>) {
        match answer {
            Ok(answer) => self.handles.answered(question.name(), answer.source),
            Err(refusal) => metrics::counter!(REFUSALS, "reason" => refusal.name()).increment(1),
        }
    }

    /// The state of each replica of the read model.
    pub fn health(&self, now: Instant) -> Vec<ReplicaHealth> {
        let mut replicas: Vec<ReplicaHealth> = self.replicas.health(now).collect();
        if !self.settings.read_source.allows(Source::Neo4j) {
            for replica in &mut replicas {
                replica.problem = Some("reads are set to PostgreSQL alone (READ_SOURCE)".into());
            }
        }
        replicas
    }

    /// Why reads do not fall back to PostgreSQL now, for operators; `None` if they do.
    pub fn postgres_problem(&self) -> Option<Cow<'static, str>> {
        if !self.settings.read_source.allows(Source::Postgres) {
            return Some("reads are set to Neo4j alone (READ_SOURCE)".into());
        }
        self.postgres.breaker.problem()
    }

    /// Like [`Self::answer`], but does not record metrics, so that the caller can retry with a weaker requirement. See
    /// [`Self::count`].
    pub async fn attempt<Q: FromMemory>(
        &self,
        question: &Q,
        call: &Call,
    ) -> Result<Answer<Q::Answer>, Refusal>
    where
        N: Read<Q>,
        P: Read<Q>,
    {
        let (need, source) = (call.need, self.settings.read_source);
        let ruled_out = match source {
            ReadSource::Auto => false,
            ReadSource::Neo4j => need.truth,
            ReadSource::Postgres => question.scope() == Scope::ReadModel,
        };
        if ruled_out {
            return Err(Refusal::RuledOut { read_source: source });
        }
        let reason = if source == ReadSource::Postgres {
            Fallback::Configured
        } else if need.truth {
            Fallback::Asked
        } else {
            if source == ReadSource::Auto
                && let Some(answer) = self.ask_memory(question, call).await
            {
                return Ok(answer);
            }
            let hold = if Q::IS_SHARED {
                None
            } else {
                let hold = self.lists.hold(&need.caller, question.places(), Instant::now());
                Some(hold.ok_or_else(|| Refusal::busy(true))?)
            };
            let answer = self.ask_read_models(question, call).await?;
            // Also a question that shares statements, because other questions' lists keep the server's processors busy.
            if matches!(answer, Err(Fallback::Busy | Fallback::Slow)) {
                self.lists.refused(&need.caller, Instant::now());
            }
            drop(hold);
            match answer {
                Ok(answer) => return Ok(answer),
                Err(reason) => reason,
            }
        };
        // PostgreSQL must not take over the overload of this process.
        if reason == Fallback::Busy {
            return Err(Refusal::busy(false));
        }
        if question.scope() == Scope::ReadModel {
            tracing::debug!(reason = reason.name(), "no fallback: PostgreSQL cannot answer this");
            return Err(match reason {
                Fallback::Behind | Fallback::NotExact => self.behind(),
                _ => Refusal::unavailable(),
            });
        }
        if source == ReadSource::Neo4j {
            tracing::debug!(reason = reason.name(), "no fallback: READ_SOURCE is neo4j");
            return Err(Refusal::unavailable());
        }
        metrics::counter!(FALLBACKS, "reason" => reason.name()).increment(1);
        call.trace.fell_back(reason.name());
        // Rare, and far larger than the rest of a read, so boxed: a read that a replica answers needs no space for it.
        Box::pin(self.ask_postgres(question, call)).await
    }

    /// Reads a store and records the read. Also returns the time at which it ended.
    async fn timed<Q: Question, R: Read<Q>>(
        &self,
        question: &Q,
        reader: &R,
        replica: Option<&ReadModel<N>>,
        began: Instant,
        within: Duration,
        trace: &QueryTrace,
    ) -> (ReadResult<Q::Answer>, Instant) {
        let answer = reader.read(question, Context { within, parent: trace.parent() }).await;
        let ended = Instant::now();
        let (took, outcome) = (ended - began, Outcome::of(&answer));
        let source = if replica.is_some() { Source::Neo4j } else { Source::Postgres };
        self.handles.took(question.name(), source, outcome, took);
        let projector = replica.map(|model| {
            model.count(outcome);
            model.replica.projector()
        });
        trace.step(|| Step::of((source, projector), question.name().text(), took, &answer));
        (answer, ended)
    }

    /// The answer of memory, if it is of the current epoch and as fresh as required. Waits for a token that this process
    /// has not reached only if memory holds the answer and no replica has reached the token.
    async fn ask_memory<Q: FromMemory>(&self, question: &Q, call: &Call) -> Option<Answer<Q::Answer>> {
        let (began, at_least) = (Instant::now(), call.need.at_least);
        let is_current = |as_of| self.heads.is_current(as_of, self.settings.memory_max_lag, Instant::now());
        let mut answer =
            question.answer_from_memory(&self.memory).filter(|answer| is_current(answer.as_of))?;
        if let Some(token) = at_least
            && token.epoch == answer.as_of.epoch
            && token > answer.as_of
        {
            let is_elsewhere = self.replicas.reached(question.scope(), token, began);
            if is_elsewhere || !self.reach_here(token, began, call.deadline).await {
                return None;
            }
            answer = question.answer_from_memory(&self.memory)?;
        }
        let as_of = answer.as_of;
        let is_fresh = |token: Token| token.epoch == as_of.epoch && token <= as_of;
        if !at_least.is_none_or(is_fresh) || !is_current(as_of) {
            return None;
        }
        call.trace.step(|| Step::of_memory(question.name().text(), began.elapsed(), as_of));
        Some(answer)
    }

    /// Waits until this process's events have reached a token.
    async fn reach_here(&self, token: Token, began: Instant, deadline: Instant) -> bool {
        let wait = self.settings.freshness_wait.min(deadline.saturating_duration_since(began) / 2);
        let reached = self.memory.recent.reach(token, began + wait).await;
        metrics::histogram!(FRESHNESS_WAIT).record(began.elapsed());
        reached
    }

    /// No read model has reached the required revision, and PostgreSQL cannot answer the question.
    fn behind(&self) -> Refusal {
        let now = Instant::now();
        let lag = self
            .replicas
            .health(now)
            .filter(|replica| replica.problem.is_none())
            .map(|replica| replica.staleness);
        Refusal::behind(lag.min().unwrap_or_default())
    }

    async fn ask_postgres<Q: Question>(&self, question: &Q, call: &Call) -> Result<Answer<Q::Answer>, Refusal>
    where
        P: Read<Q>,
    {
        if self.postgres.breaker.open().is_some() {
            return Err(Refusal::unavailable());
        }
        let Call { need, deadline, .. } = *call;
        let place = self.budget.place(question.cost(), deadline, need.caller).await?;
        if self.settings.read_source != ReadSource::Postgres {
            self.budget.spend(question.cost(), need.caller)?;
        }
        let began = Instant::now();
        let within = deadline.saturating_duration_since(began).min(self.settings.postgres_timeout);
        if within.is_zero() {
            return Err(Refusal::DeadlineExceeded);
        }
        let (outcome, now) =
            self.timed(question, &self.postgres.reader, None, began, within, &call.trace).await;
        drop(place);
        let answer = match outcome {
            Ok(answer) => answer,
            Err(Error::TimedOut) if now >= deadline => return Err(Refusal::DeadlineExceeded),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the source of truth did not answer"
                );
                self.postgres.breaker.failure(now);
                return Err(Refusal::unavailable());
            }
        };
        self.postgres.breaker.success(now);
        self.heads.observe_answer(answer.as_of, now);
        match need.at_least {
            Some(token) if token.epoch != answer.as_of.epoch => Err(Refusal::EpochChanged),
            // This head may be that of a standby; revisions that this process has seen exist.
            Some(token) if token > answer.as_of && self.heads.head().is_some_and(|head| head >= token) => {
                Err(self.behind())
            }
            Some(token) if token > answer.as_of => Err(Refusal::TokenAhead),
            _ => Ok(Answer { value: answer.value, as_of: answer.as_of, source: Source::Postgres }),
        }
    }
}

#[cfg(test)]
mod tests;
