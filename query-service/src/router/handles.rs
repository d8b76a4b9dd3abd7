//! Metric handles of reads.
//!
//! Looking a metric up by its labels costs more than counting. Each handle is created at its first count, so that
//! unused series do not exist.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::metrics::{READS, SECONDS};
use crate::queries::{Outcome, QuestionName, Source};

/// By question, store and outcome.
#[derive(Debug, Default)]
pub struct Handles([[OfStore; Source::COUNT]; QuestionName::COUNT]);

#[derive(Debug, Default)]
struct OfStore {
    reads: OnceLock<Counter>,
    seconds: [OnceLock<Histogram>; Outcome::COUNT],
}

impl Handles {
    /// Counts an answer that went to the caller.
    pub fn answered(&self, question: QuestionName, source: Source) {
        let make = || metrics::counter!(READS, "question" => question.text(), "source" => source.name());
        self.of(question, source).reads.get_or_init(make).increment(1);
    }

    /// Records the duration of a store's answer or failure.
    pub fn took(&self, question: QuestionName, source: Source, outcome: Outcome, took: Duration) {
        let make = || {
            let (question, source, outcome) = (question.text(), source.name(), outcome.name());
            metrics::histogram!(SECONDS, "question" => question, "source" => source, "outcome" => outcome)
        };
        self.of(question, source).seconds[outcome as usize].get_or_init(make).record(took);
    }

    fn of(&self, question: QuestionName, source: Source) -> &OfStore {
        &self.0[question as usize][source as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ALL;

    #[test]
    fn names_are_in_the_order_of_the_variants() {
        let questions = QuestionName::ALL.map(|name| name as usize);
        assert_eq!(questions.to_vec(), (0..QuestionName::COUNT).collect::<Vec<_>>());
        let outcomes = Outcome::ALL.map(|outcome| outcome as usize);
        assert_eq!(outcomes.to_vec(), (0..Outcome::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn every_name_is_declared() {
        let declared = |label: &str| {
            let seconds = ALL.iter().find(|metric| metric.name == SECONDS).expect("declared");
            seconds.labels.iter().find(|found| found.name == label).expect("a label").values.to_vec()
        };
        assert_eq!(declared("question"), QuestionName::ALL.map(QuestionName::text));
        assert_eq!(declared("outcome"), Outcome::ALL.map(Outcome::name));
    }
}
