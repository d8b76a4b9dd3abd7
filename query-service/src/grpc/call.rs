//! Properties of every read in addition to its own fields: deadline, caller, required freshness, and explanation.

use std::time::Duration;

use proto::Token;
use proto::error::{Reason, ServiceError};
use proto::query::v1::{Consistency, Explanation, Source as WireSource, explanation};
use service_kit::auth::Caller;
use service_kit::grpc::Deadline;
use service_kit::trace::Parent;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::validate::{self, AT_LEAST_AS_FRESH};
use crate::queries::Source;
use crate::router::{Call, CallerKey, Need, QueryTrace, Step};

/// Deadline of a request that has none; the server's defaults rule that out.
const LONGEST: Duration = Duration::from_secs(30);

pub type Reply<T> = Result<Response<T>, Status>;

/// Name of the page token's field.
pub const PAGE_TOKEN: &str = "page_token";

/// An admitted request: deadline, caller, span.
#[derive(Debug)]
pub struct Begun {
    pub deadline: Instant,
    pub caller: CallerKey,
    pub parent: Parent,
}

impl Begun {
    /// Reads deadline, caller and span from the request.
    pub fn of<T>(request: &Request<T>) -> Self {
        let caller = Caller::of(request).map_or(CallerKey::NONE, |caller| CallerKey::of(&caller));
        let deadline = Deadline::of(request).map_or_else(|| Instant::now() + LONGEST, |deadline| deadline.0);
        Self { deadline, caller, parent: Parent::of_call(request.extensions()) }
    }

    /// A request without a token.
    #[cfg(test)]
    pub fn at(deadline: Instant) -> Self {
        Self { deadline, caller: CallerKey::NONE, parent: Parent::default() }
    }
}

/// Splits a request into its message and its context.
pub fn begin<T>(request: Request<T>) -> (T, Begun) {
    let begun = Begun::of(&request);
    (request.into_inner(), begun)
}

/// One call of a read method.
#[derive(Debug)]
pub struct ReadCall {
    pub read: Call,
    /// Name of the field with the required revision.
    pub token_field: &'static str,
}

impl ReadCall {
    pub fn new(begun: Begun, consistency: Option<&Consistency>, explain: bool) -> Result<Self, ServiceError> {
        let Begun { deadline, caller, parent } = begun;
        let need = Need { caller, ..validate::need(consistency)? };
        let read = Call { need, deadline, trace: QueryTrace::new(explain).below(parent) };
        Ok(Self { read, token_field: AT_LEAST_AS_FRESH })
    }

    /// Requires the page to be at least as fresh as the previous page and as the caller's token.
    pub fn not_before(&mut self, before: Token) -> Result<(), ServiceError> {
        match self.read.need.at_least {
            // The two tokens are of different epochs, so one is outdated.
            Some(asked) if asked.epoch != before.epoch => {
                let message = format!("is of another epoch than {}", self.token_field);
                return Err(ServiceError::field(Reason::EpochChanged, PAGE_TOKEN, message));
            }
            Some(asked) if asked > before => {}
            _ => {
                self.read.need.at_least = Some(before);
                self.token_field = PAGE_TOKEN;
            }
        }
        Ok(())
    }

    /// The explanation, if the caller set `explain`.
    pub fn explanation(&self) -> Option<Explanation> {
        let record = self.read.trace.record()?;
        Some(Explanation {
            steps: record.steps.into_iter().map(step).collect(),
            fallback_reason: record.fallback.unwrap_or_default().to_owned(),
        })
    }
}

/// The store that answered, on the wire.
pub fn wire_source(source: Source) -> i32 {
    match source {
        Source::Neo4j => WireSource::Neo4j,
        Source::Postgres => WireSource::Postgres,
        Source::Memory => WireSource::Memory,
    }
    .into()
}

fn step(step: Step) -> explanation::Step {
    explanation::Step {
        store: step.store.name().to_owned(),
        replica: step.replica.as_deref().unwrap_or_default().to_owned(),
        question: step.question.to_owned(),
        // A call lasts seconds, so this fits.
        took: prost_types::Duration::try_from(step.took).ok(),
        outcome: step.outcome.name().to_owned(),
        store_as_of: step.store_as_of.as_ref().map(Token::to_string).unwrap_or_default(),
        overlaid_events: step.overlaid_events,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_token_is_a_caller_of_its_own() {
        let of = |caller: Option<Caller>| {
            let mut request = Request::new(());
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            Begun::of(&request).caller
        };
        let [feed, mobile] = ["feed", "mobile"].map(Caller::new);
        assert_ne!(of(Some(feed.clone())), of(Some(mobile)));
        // Tokens with the same name are one caller.
        assert_eq!(of(Some(feed)), of(Some(Caller::new("feed"))));
        assert_eq!(of(None), CallerKey::NONE);
        assert_ne!(of(Some(Caller::new("none"))), CallerKey::NONE, "whatever its name");
    }
}
