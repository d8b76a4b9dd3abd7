//! How an answer came about, for people and programs.
//!
//! Owns: its form: indented lines below the answer, or a field of its JSON. It must not know what was asked.

use std::time::Duration;

use proto::query::v1::{Explanation, explanation::Step};
use serde::Serialize;

use crate::output;

/// One explanation for programs.
#[derive(Clone, Debug, Serialize)]
pub struct Body<'a> {
    steps: Vec<StepRow<'a>>,
    fallback_reason: &'a str,
}

#[derive(Clone, Debug, Serialize)]
struct StepRow<'a> {
    store: &'a str,
    replica: &'a str,
    question: &'a str,
    took_ms: f64,
    outcome: &'a str,
    store_as_of: &'a str,
    overlaid_events: u32,
}

impl<'a> From<&'a Explanation> for Body<'a> {
    fn from(explanation: &'a Explanation) -> Self {
        Self {
            steps: explanation.steps.iter().map(row).collect(),
            fallback_reason: &explanation.fallback_reason,
        }
    }
}

/// Prints the explanations of the calls of one answer for people; nothing if none was asked for.
pub fn print(explanations: &[Explanation]) {
    for line in explanations.iter().flat_map(lines) {
        output::line(line);
    }
}

fn row(step: &Step) -> StepRow<'_> {
    StepRow {
        store: &step.store,
        replica: &step.replica,
        question: &step.question,
        took_ms: output::elapsed_ms(took(step)),
        outcome: &step.outcome,
        store_as_of: &step.store_as_of,
        overlaid_events: step.overlaid_events,
    }
}

fn lines(explanation: &Explanation) -> Vec<String> {
    let mut lines: Vec<_> = explanation.steps.iter().map(step_line).collect();
    if !explanation.fallback_reason.is_empty() {
        lines.push(format!("  postgres was asked because: {}", explanation.fallback_reason));
    }
    lines
}

fn step_line(step: &Step) -> String {
    let replica = if step.replica.is_empty() { String::new() } else { format!(" {}", step.replica) };
    let mut line = format!(
        "  {}{replica}   {}   {}   {}",
        step.store,
        step.question,
        output::millis(took(step)),
        step.outcome
    );
    if let Some(revision) = output::revision(&step.store_as_of) {
        line += &format!("   revision {revision}");
    }
    match step.overlaid_events {
        0 => {}
        1 => line += " and 1 recent event",
        n => line += &format!(" and {n} recent events"),
    }
    line
}

fn took(step: &Step) -> Duration {
    step.took.and_then(|took| took.try_into().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_what_was_asked_of_whom_and_why() {
        let step = |store: &str, outcome: &str, store_as_of: &str, overlaid_events| Step {
            store: store.to_owned(),
            replica: if store == "neo4j" { "projector-0".to_owned() } else { String::new() },
            question: "check".to_owned(),
            took: Some(prost_types::Duration { seconds: 0, nanos: 1_240_000 }),
            outcome: outcome.to_owned(),
            store_as_of: store_as_of.to_owned(),
            overlaid_events,
        };
        let explanation = Explanation {
            steps: vec![
                step("neo4j", "timeout", "", 0),
                step("postgres", "ok", "1.0000000000000001.0000000000000385", 2),
            ],
            fallback_reason: "slow".to_owned(),
        };
        assert_eq!(
            lines(&explanation),
            [
                "  neo4j projector-0   check   1.24 ms   timeout",
                "  postgres   check   1.24 ms   ok   revision 901 and 2 recent events",
                "  postgres was asked because: slow",
            ]
        );
    }
}
