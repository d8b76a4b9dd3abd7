//! What was asked to get an answer: for callers who set `explain`, and for the spans of a sampled trace. Without those,
//! nothing is recorded.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::Token;
use service_kit::trace::Parent;

use crate::queries::{Outcome, ReadResult, Source};

/// One question to one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The store.
    pub store: Source,
    /// Which replica of the read model, by its projector.
    pub replica: Option<Arc<str>>,
    /// The question's name.
    pub question: &'static str,
    /// How long the answer took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The answer's revision before recent events were applied to it.
    pub store_as_of: Option<Token>,
    /// How many recent events changed the answer.
    pub overlaid_events: u32,
}

impl Step {
    /// The step in which a store, or one of its replicas, gave this answer or failed.
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
}

/// What is known of an answer's way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What was asked, in order.
    pub steps: Vec<Step>,
    /// Why the source of truth was asked; none if it was not.
    pub fallback: Option<&'static str>,
}

/// Records the way of an answer, if somebody wants to know.
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

    /// The same for a call with this span.
    #[must_use]
    pub fn below(self, parent: Parent) -> Self {
        Self { parent, ..self }
    }

    /// The parent of the spans of statements.
    pub fn parent(&self) -> &Parent {
        &self.parent
    }

    /// A store was asked.
    pub fn step(&self, step: impl FnOnce() -> Step) {
        self.change(|record| record.steps.push(step()));
    }

    /// The source of truth is asked, for this reason.
    pub fn fell_back(&self, reason: &'static str) {
        self.change(|record| record.fallback = Some(reason));
    }

    /// What was recorded; `None` if the caller does not want to know.
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
        assert_eq!(step.replica.as_deref(), Some("projector-1"), "who failed is told too");
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
