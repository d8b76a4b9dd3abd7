//! Tries the read models one after the other: the wait for a token, the time limit of each, and the conclusions from an
//! outcome about the replica. If none answers, the reason of the last one counts.

use std::time::Duration;

use proto::Token;
use tokio::time::Instant;

use super::{Call, Fallback, Need, Refusal, Router};
use crate::metrics::{FRESHNESS_WAIT, REPLICA_RETRIES};
use crate::queries::{Answer, Error, Question, Read, Scope, Source, Statement, Versioned};
use crate::replicas::{Picked, Tried};

/// Factor on the timeout for multi-hop questions.
const MULTI_TIMES: u32 = 4;
/// Timeout of a multi-hop question's wait for a read model to reach a token.
const MULTI_WAIT: Duration = Duration::from_secs(1);
/// Timeout of the wait for PostgreSQL to confirm its epoch, and the polling interval.
const EPOCH_WAIT: Duration = Duration::from_millis(1_200);
const EPOCH_LOOK: Duration = Duration::from_millis(20);
/// Maximum number of replicas that divide the time of a call; one that is tried after them gets a share of the rest.
const SHARERS: usize = 2;

/// An answer, or why this read model gave none.
type Outcome<T> = Result<Answer<T>, Fallback>;

impl<N, P> Router<N, P> {
    /// Tries the read models. The inner error is the reason to fall back to PostgreSQL.
    pub(super) async fn ask_read_models<Q: Question>(
        &self,
        question: &Q,
        call: &Call,
    ) -> Result<Outcome<Q::Answer>, Refusal>
    where
        N: Read<Q>,
    {
        let Call { need: Need { at_least, .. }, deadline, .. } = *call;
        if let Some(token) = at_least {
            match self.heads.epoch() {
                Some(epoch) if token.epoch < epoch => return Err(Refusal::EpochChanged),
                Some(epoch) if token.epoch == epoch => {}
                _ => self.wait_for_epoch(token, deadline).await?,
            }
            if self.heads.epoch().is_none_or(|epoch| token.epoch != epoch) {
                return Ok(Err(Fallback::Epoch));
            }
        }
        let (scope, mut now) = (question.scope(), Instant::now());
        if let Some(unfit) = self.replicas.none_fit(scope, now) {
            return Ok(Err(unfit.into()));
        }
        if let Some(token) = at_least
            && !self.has_reached(token, scope, now)
        {
            if !self.reach(token, scope, now, deadline).await {
                return Ok(Err(Fallback::Behind));
            }
            now = Instant::now();
        }
        let mut tried = Tried::default();
        let mut last = None;
        while let Some(picked) = self.replicas.pick(scope, at_least, &tried, now) {
            if let Some(reason) = last {
                metrics::counter!(REPLICA_RETRIES, "reason" => Fallback::name(reason)).increment(1);
            }
            match self.ask_one(question, call, now, &picked).await? {
                Ok(answer) => return Ok(Ok(answer)),
                Err(reason) => last = Some(reason),
            }
            tried.add(&picked);
            now = Instant::now();
        }
        // Without any outcome, the last usable one became unusable during the wait for the token.
        Ok(Err(last.unwrap_or(Fallback::Down)))
    }

    async fn ask_one<Q: Question>(
        &self,
        question: &Q,
        call: &Call,
        now: Instant,
        picked: &Picked<'_, N>,
    ) -> Result<Outcome<Q::Answer>, Refusal>
    where
        N: Read<Q>,
    {
        let Call { need: Need { at_least, .. }, deadline, ref trace } = *call;
        let remaining = deadline.saturating_duration_since(now);
        if remaining.is_zero() {
            return Err(Refusal::DeadlineExceeded);
        }
        let usual = self.settings.neo4j_timeout;
        let longest = match question.scope() {
            Scope::Single => usual,
            Scope::Multi | Scope::ReadModel => usual * MULTI_TIMES,
        };
        let within = longest.min(share(remaining, picked.choice));
        let model = picked.model;
        let (replica, breaker) = (&model.replica, &model.breaker);
        let began = replica.begin_look_up();
        let (mut outcome, mut now) =
            self.timed(question, &model.reader, Some(model), now, within, trace).await;
        if let (Some(token), Ok(answer)) = (at_least, &outcome)
            && question.scope() != Scope::Single
            && answer.as_of.epoch == token.epoch
            && answer.as_of < token
        {
            let reached = replica.reach(token, now + self.wait_for(question.scope(), now, deadline)).await;
            now = Instant::now();
            if reached {
                // Recent events did not contain all that the replica lacked; now the replica contains it.
                let within = within.min(share(deadline.saturating_duration_since(now), picked.choice));
                (outcome, now) = self.timed(question, &model.reader, Some(model), now, within, trace).await;
            }
        }
        Ok(match outcome.map_err(Error::unshared) {
            Ok(answer) => {
                if counts(answer.origin.statement.as_ref()) {
                    breaker.success(now);
                }
                replica.answered(answer.origin.store_as_of.unwrap_or(answer.as_of));
                self.heads.observe_read_model(answer.as_of, now);
                self.judge(answer, at_least)?
            }
            // The server answered, so these are not its failures.
            Err((Error::NotBuilt, _)) => {
                replica.looked_up(None, began);
                Err(Fallback::NotBuilt)
            }
            Err((Error::NotComplete, _)) => Err(Fallback::NotComplete),
            Err((Error::NotExact, _)) => Err(Fallback::NotExact),
            // The read was not sent to the server.
            Err((Error::Busy, _)) => Err(Fallback::Busy),
            Err((Error::Stalled, _)) => Err(Fallback::Slow),
            Err((Error::TimedOut, statement)) => {
                // A caller with a short deadline proves nothing about the store, nor does a question that reads much.
                let proves = within == usual && question.scope() == Scope::Single;
                if proves && counts(statement.as_ref()) {
                    breaker.failure(now);
                }
                Err(Fallback::Slow)
            }
            Err((
                error
                @ (Error::Failed(_) | Error::Unchecked | Error::Misconfigured(_) | Error::Shared { .. }),
                statement,
            )) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, replica = &**replica.projector(), "the read model failed");
                if counts(statement.as_ref()) {
                    breaker.failure(now);
                }
                Err(Fallback::Failed)
            }
        })
    }

    /// True if this process's events or a replica have reached the token. Recent events are applied to single-hop
    /// answers, and confirm most other answers.
    fn has_reached(&self, token: Token, scope: Scope, now: Instant) -> bool {
        let here = self.memory.recent.position().is_some_and(|position| position >= token);
        here || self.replicas.reached(scope, token, now)
    }

    /// Waits for that, and leaves time for PostgreSQL.
    async fn reach(&self, token: Token, scope: Scope, began: Instant, deadline: Instant) -> bool {
        let until = began + self.wait_for(scope, began, deadline);
        let reached = tokio::select! {
            true = self.replicas.reach(scope, token, began, until) => true,
            true = self.memory.recent.reach(token, until) => true,
            else => false,
        };
        metrics::histogram!(FRESHNESS_WAIT).record(began.elapsed());
        reached
    }

    /// Waits until PostgreSQL has confirmed its head since the call began. The probe reads it twice a second, so that a
    /// token of a non-existent epoch costs PostgreSQL nothing. If the probe gets no answer, the read itself must go to
    /// PostgreSQL.
    async fn wait_for_epoch(&self, token: Token, deadline: Instant) -> Result<(), Refusal> {
        let began = Instant::now();
        let until = deadline.min(began + EPOCH_WAIT);
        while Instant::now() < until {
            match self.heads.confirmed_since(began) {
                Some(head) if head.epoch == token.epoch => return Ok(()),
                Some(_) => return Err(Refusal::EpochChanged),
                None => tokio::time::sleep(EPOCH_LOOK).await,
            }
        }
        Ok(())
    }

    /// How long a question waits for a token. A multi-hop question may have to wait for the read model itself, whose
    /// projector pauses between batches.
    fn wait_for(&self, scope: Scope, now: Instant, deadline: Instant) -> Duration {
        let longest = match scope {
            Scope::Single => self.settings.freshness_wait,
            Scope::Multi | Scope::ReadModel => self.settings.freshness_wait.max(MULTI_WAIT),
        };
        longest.min(deadline.saturating_duration_since(now) / 2)
    }

    /// The checkpoint that an answer was read with proves its freshness; earlier signals do not.
    fn judge<T>(&self, answer: Versioned<T>, at_least: Option<Token>) -> Result<Outcome<T>, Refusal> {
        let as_of = answer.as_of;
        if self.heads.epoch().is_some_and(|epoch| as_of.epoch != epoch) {
            return Ok(Err(Fallback::OtherHistory));
        }
        match at_least {
            Some(token) if token.epoch < as_of.epoch => Err(Refusal::EpochChanged),
            Some(token) if as_of < token => Ok(Err(Fallback::Behind)),
            _ => Ok(Ok(Answer { value: answer.value, as_of, source: Source::Neo4j })),
        }
    }
}

/// True unless another question has counted the statement: a hundred questions in one statement prove no more than one.
fn counts(statement: Option<&Statement>) -> bool {
    statement.is_none_or(Statement::count)
}

/// Time limit of one replica among the `choice` that are left. A third is reserved for PostgreSQL.
fn share(remaining: Duration, choice: usize) -> Duration {
    let sharers = u32::try_from(choice.clamp(1, SHARERS)).unwrap_or(1);
    remaining * 2 / 3 / sharers
}
