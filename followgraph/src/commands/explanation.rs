//! Explanation of an answer: a field of its JSON, or indented lines below its text.

use proto::query::v1::{Explanation, explanation::Step};

use crate::output::{self, json_row};

json_row! {
    /// The explanation of one call.
    pub struct Explained from explanation: &Explanation {
        steps: Vec<StepRow> = explanation.steps.iter().map(StepRow::new).collect(),
        fallback_reason: String = explanation.fallback_reason.clone(),
    }
}

json_row! {
    pub struct StepRow from step: &Step {
        store: String = step.store.clone(),
        replica: String = step.replica.clone(),
        question: String = step.question.clone(),
        took_ms: f64 = output::proto_ms(step.took).unwrap_or_default(),
        outcome: String = step.outcome.clone(),
        store_as_of: String = step.store_as_of.clone(),
        overlaid_events: u32 = step.overlaid_events,
    }
}

impl Explained {
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.steps.iter().map(StepRow::line).collect();
        if !self.fallback_reason.is_empty() {
            lines.push(format!("  reason for asking postgres: {}", self.fallback_reason));
        }
        lines
    }
}

impl StepRow {
    fn line(&self) -> String {
        let store = format!("{} {}", self.store, self.replica);
        let mut line = format!(
            "  {}   {}   {}   {}",
            store.trim_end(),
            self.question,
            output::millis(self.took_ms),
            self.outcome
        );
        if let Some(revision) = output::revision(&self.store_as_of) {
            line += &format!("   revision {revision}");
        }
        if self.overlaid_events > 0 {
            line += &format!(" and {}", output::counted(self.overlaid_events.into(), "recent event"));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_show_stores_and_the_reason_of_a_fallback() {
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
            Explained::new(&explanation).lines(),
            [
                "  neo4j projector-0   check   1.24 ms   timeout",
                "  postgres   check   1.24 ms   ok   revision 901 and 2 recent events",
                "  reason for asking postgres: slow",
            ]
        );
    }
}
