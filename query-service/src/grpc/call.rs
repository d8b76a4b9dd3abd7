//! What every read has in addition to its own fields: deadline, caller, required freshness, and the explanation of its
//! answer.

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

/// Used where a request came without a deadline, which the server's defaults rule out.
const LONGEST: Duration = Duration::from_secs(30);

/// What a method returns.
pub type Reply<T> = Result<Response<T>, Status>;

/// The field of the page token.
pub const PAGE_TOKEN: &str = "page_token";

/// A request that was let in: until when it is answered, and who sent it.
#[derive(Debug)]
pub struct Begun {
    /// Until when.
    pub deadline: Instant,
    /// Who.
    pub caller: CallerKey,
    /// The span of the call.
    pub parent: Parent,
}

impl Begun {
    /// What a request says of itself.
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

/// The message, who sent it, and until when it is answered.
pub fn begin<T>(request: Request<T>) -> (T, Begun) {
    let begun = Begun::of(&request);
    (request.into_inner(), begun)
}

/// One call of a method that reads.
#[derive(Debug)]
pub struct ReadCall {
    /// How it is answered.
    pub read: Call,
    /// The field that asks for a revision.
    pub token_field: &'static str,
}

impl ReadCall {
    /// A call with these fields.
    pub fn new(begun: Begun, consistency: Option<&Consistency>, explain: bool) -> Result<Self, ServiceError> {
        let Begun { deadline, caller, parent } = begun;
        let need = Need { caller, ..validate::need(consistency)? };
        let read = Call { need, deadline, trace: QueryTrace::new(explain).below(parent) };
        Ok(Self { read, token_field: AT_LEAST_AS_FRESH })
    }

    /// The page must be at least as fresh as the one before, and as the caller asks.
    pub fn not_before(&mut self, before: Token) -> Result<(), ServiceError> {
        match self.read.need.at_least {
            // One of them is of the past, whichever it is.
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

    /// How the answer came about, if the caller wants to know.
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
    }
    .into()
}

fn step(step: Step) -> explanation::Step {
    explanation::Step {
        store: step.store.name().to_owned(),
        replica: step.replica.as_deref().unwrap_or_default().to_owned(),
        question: step.question.to_owned(),
        // A call lasts seconds: it fits.
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
        // Tokens of one name are one caller.
        assert_eq!(of(Some(feed)), of(Some(Caller::new("feed"))));
        assert_eq!(of(None), CallerKey::NONE);
        assert_ne!(of(Some(Caller::new("none"))), CallerKey::NONE, "whatever its name");
    }
}
