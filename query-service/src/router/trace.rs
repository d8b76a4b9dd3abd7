//! Records the stores that a read tried, for callers that set `explain`, and for the spans of a sampled trace.
//! Otherwise it records nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::Token;
use service_kit::trace::Parent;

use crate::queries::{Outcome, ReadResult, Source};

/// One question to one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub store: Source,
    /// The replica of the read model, by its projector.
    pub replica: Option<Arc<str>>,
    pub question: &'static str,
    /// Duration until the answer or failure.
    pub took: Duration,
    pub outcome: Outcome,
    /// The answer's revision before recent events were applied to it.
    pub store_as_of: Option<Token>,
    /// Number of recent events that changed the answer.
    pub overlaid_events: u32,
}

impl Step {
    /// The step for an answer or failure of a store, or of one of its replicas.
    pub fn of<T>(
        (store, replica): (Source, Option<&Arc<str>>),
        question: &'static str,
        took: Duration,
        answer: &ReadResult<T>,
    ) -> Self {
        let origin = answer.as_ref().map(|answer| answer.origin.clone()).unwrap_or_default();
        let as_of = answer.as_ref().ok().map(|answer| answer.as_of);
        Self {
            store,
            replica: replica.cloned(),
            question,
            took,
            outcome: Outcome::of(answer),
            store_as_of: origin.store_as_of.or(as_of),
            overlaid_events: origin.overlaid_events,
        }
    }

    /// The step for an answer of memory.
    pub fn of_memory(question: &'static str, took: Duration, as_of: Token) -> Self {
        Self {
            store: Source::Memory,
            replica: None,
            question,
            took,
            outcome: Outcome::Ok,
            store_as_of: Some(as_of),
            overlaid_events: 0,
        }
    }
}

/// The recorded steps of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// In order.
    pub steps: Vec<Step>,
    /// Why the read fell back to PostgreSQL; `None` if it did not.
    pub fallback: Option<&'static str>,
}

/// Records the steps of a read if the caller set `explain`.
#[derive(Debug, Default)]
pub struct QueryTrace {
    record: Option<Mutex<Record>>,
    /// The span of the call.
    parent: Parent,
}

impl QueryTrace {
    /// Records if `wanted`.
    pub fn new(wanted: bool) -> Self {
        Self { record: wanted.then(Mutex::default), parent: Parent::default() }
    }

    /// Records for a call with this span.
    #[must_use]
    pub fn below(self, parent: Parent) -> Self {
        Self { parent, ..self }
    }

    /// The parent of the spans of statements.
    pub fn parent(&self) -> &Parent {
        &self.parent
    }

    /// Records one question to a store.
    pub fn step(&self, step: impl FnOnce() -> Step) {
        self.change(|record| record.steps.push(step()));
    }

    /// Records why the read falls back to PostgreSQL.
    pub fn fell_back(&self, reason: &'static str) {
        self.change(|record| record.fallback = Some(reason));
    }

    /// The recorded steps; `None` if the caller did not set `explain`.
    pub fn record(&self) -> Option<Record> {
        self.record.as_ref().map(|record| record.lock().clone())
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = &self.record {
            change(&mut record.lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Revision};

    use super::*;
    use crate::queries::{Error, Versioned};

    fn token(revision: u64) -> Token {
        Token::new(Epoch(1), Revision(revision))
    }

    #[test]
    fn a_step_tells_the_stores_revision_and_what_was_applied_to_it() {
        let took = Duration::from_millis(3);
        let plain = Ok(Versioned::exact((), token(9)));
        let step = Step::of((Source::Postgres, None), "check", took, &plain);
        assert_eq!((step.store_as_of, step.overlaid_events, step.outcome), (Some(token(9)), 0, Outcome::Ok));
        let mut patched = Versioned::exact((), token(12));
        patched.origin.store_as_of = Some(token(10));
        patched.origin.overlaid_events = 2;
        let replica = Arc::from("projector-1");
        let step = Step::of((Source::Neo4j, Some(&replica)), "check", took, &Ok(patched));
        assert_eq!((step.store_as_of, step.overlaid_events), (Some(token(10)), 2));
        assert_eq!(step.replica.as_deref(), Some("projector-1"));
        let failed: Result<Versioned<()>, _> = Err(Error::NotComplete);
        let step = Step::of((Source::Neo4j, Some(&replica)), "check", took, &failed);
        assert_eq!((step.store_as_of, step.outcome), (None, Outcome::NotReady));
        assert_eq!(step.replica.as_deref(), Some("projector-1"), "failed replicas are named too");
    }

    #[test]
    fn nothing_is_recorded_unless_it_is_wanted() {
        let unwanted = QueryTrace::new(false);
        unwanted.step(|| unreachable!("no step is made"));
        unwanted.fell_back("down");
        assert_eq!(unwanted.record(), None);
        let wanted = QueryTrace::new(true);
        wanted.fell_back("down");
        assert_eq!(wanted.record(), Some(Record { steps: vec![], fallback: Some("down") }));
    }
}
