//! Chooses the store that answers: memory, a replica of the read model, another one if that fails, then the source of
//! truth within its budget. Otherwise the read gets a [`Refusal`].

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
use crate::memory::{FromMemory, Memory};
use crate::metrics::{FALLBACKS, REFUSALS};
use crate::neo4j::Neo4jReader;
use crate::overlay::Overlaid;
use crate::postgres::PostgresReader;
use crate::queries::{Answer, Context, Error, Outcome, Question, Read, ReadResult, Scope, Source};
use crate::recent::HeadTracker;
use crate::replicas::{Breaker, ReadModel, ReplicaHealth, Replicas};

/// How the router weighs time.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A read model is slow when it takes longer.
    pub neo4j_timeout: Duration,
    /// Longest time of a read from the source of truth, however long its caller waits.
    pub postgres_timeout: Duration,
    /// Longest wait for a read model to reach a token.
    pub freshness_wait: Duration,
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
    /// Whose share of the fallback budget it may use.
    pub caller: CallerKey,
}

/// A read: how fresh its answer must be, until when it is wanted, and what becomes of it.
#[derive(Debug)]
pub struct Call {
    /// How fresh.
    pub need: Need,
    /// Until when.
    pub deadline: Instant,
    /// What is asked for it.
    pub trace: QueryTrace,
}

/// A store and its breaker.
pub struct Store<P> {
    /// Asks it.
    pub reader: P,
    /// Whether it is asked.
    pub breaker: Arc<Breaker>,
}

/// How a replica of the read model is asked.
pub type ReadModelReader = Overlaid<Batched<Neo4jReader>>;

/// The router of the stores of this process.
pub type StoreRouter = Router<ReadModelReader, PostgresReader>;

/// Chooses the store that answers: a read model that `N` asks, or the source of truth that `P` asks. Shared by all calls.
pub struct Router<N, P> {
    /// The read models.
    pub replicas: Replicas<N>,
    /// The source of truth.
    pub postgres: Store<P>,
    /// Asked before a store; answers of read models are brought up to its position.
    pub memory: Memory,
    /// How far the source of truth is.
    pub heads: Arc<HeadTracker>,
    /// What the source of truth takes over.
    pub budget: Budget,
    /// Who reads lists and over several hops: these compete for places at the read models.
    pub lists: Holders<CallerKey>,
    /// What every read counts.
    pub handles: Handles,
    /// How time is weighed.
    pub settings: Settings,
}

impl<N, P> std::fmt::Debug for Router<N, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<N, P> Router<N, P> {
    /// Answers a question, or says why not.
    pub async fn answer<Q: FromMemory>(&self, question: &Q, call: &Call) -> Result<Answer<Q::Answer>, Refusal>
    where
        N: Read<Q>,
        P: Read<Q>,
    {
        let answer = self.attempt(question, call).await;
        self.count(question, &answer);
        answer
    }

    /// Counts what became of a question.
    pub fn count<Q: Question>(&self, question: &Q, answer: &Result<Answer<Q::Answer>, Refusal>) {
        match answer {
            Ok(answer) => self.handles.answered(question.name(), answer.source),
            Err(refusal) => metrics::counter!(REFUSALS, "reason" => refusal.name()).increment(1),
        }
    }

    /// How each replica of the read model looks now.
    pub fn health(&self, now: Instant) -> Vec<ReplicaHealth> {
        let mut replicas: Vec<ReplicaHealth> = self.replicas.health(now).collect();
        if !self.settings.read_source.allows(Source::Neo4j) {
            for replica in &mut replicas {
                replica.problem = Some("reads are set to PostgreSQL alone (READ_SOURCE)".into());
            }
        }
        replicas
    }

    /// Why no reads fall back to PostgreSQL now, in words; `None` if they may.
    pub fn postgres_problem(&self) -> Option<Cow<'static, str>> {
        if !self.settings.read_source.allows(Source::Postgres) {
            return Some("reads are set to Neo4j alone (READ_SOURCE)".into());
        }
        self.postgres.breaker.problem()
    }

    /// The same, not counted yet: for callers that may ask for less afterwards. See [`Self::count`].
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
            if let Some(answer) = self.remembered(question, need.at_least) {
                return Ok(answer);
            }
            let hold = if Q::IS_SHARED {
                None
            } else {
                let hold = self.lists.hold(&need.caller, question.places(), Instant::now());
                Some(hold.ok_or_else(|| Refusal::busy(true))?)
            };
            let answer = self.ask_read_models(question, call).await?;
            // Also one that shares statements: it is the lists of others that keep the server's processors.
            if matches!(answer, Err(Fallback::Busy | Fallback::Slow)) {
                self.lists.refused(&need.caller, Instant::now());
            }
            drop(hold);
            match answer {
                Ok(answer) => return Ok(answer),
                Err(reason) => reason,
            }
        };
        // PostgreSQL must not take over what this process has too much of.
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
        // Rare, and far larger than the rest of a read: a read that a replica answers has no room for it.
        Box::pin(self.ask_postgres(question, call)).await
    }

    /// Asks the source of truth, or a replica, and records it. Returns when that ended, too.
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

    /// The answer of memory, if it is of the current epoch and as fresh as the caller asks.
    fn remembered<Q: FromMemory>(&self, question: &Q, at_least: Option<Token>) -> Option<Answer<Q::Answer>> {
        question.answer_from_memory(&self.memory).filter(|answer| {
            let as_of = answer.as_of;
            let is_fresh = |token: Token| token.epoch == as_of.epoch && token <= as_of;
            self.heads.epoch() == Some(as_of.epoch) && at_least.is_none_or(is_fresh)
        })
    }

    /// No read model is as far as the question needs, and the source of truth cannot answer it.
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
            // Its head may be that of a standby: what this process has seen is real.
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
