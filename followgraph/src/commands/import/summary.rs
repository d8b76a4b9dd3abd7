//! The result of the import of a file.

use std::collections::BTreeMap;

use super::progress::Done;
use super::refused::RefusedFile;
use crate::output::{self, json_row};

json_row! {
    /// Result over all runs.
    pub struct Summary from done: &Done, refused: &RefusedFile, complete: bool, resumed: bool {
        complete: bool = complete,
        resumed: bool = resumed,
        rows: u64 = done.lines,
        accepted: u64 = done.accepted,
        unchanged: u64 = done.unchanged,
        refused: u64 = done.refused,
        refused_by_reason: BTreeMap<String, u64> = done.reasons.clone(),
        refused_file: Option<String> = (done.refused > 0).then(|| refused.path().display().to_string()),
        seconds: f64 = rounded(done.elapsed.as_secs_f64()),
        edges_per_second: f64 = rate(done.accepted + done.unchanged, rounded(done.elapsed.as_secs_f64())),
        written_at: Option<String> = (!done.written_at.is_empty()).then(|| done.written_at.clone()),
        revision: Option<u64> = output::revision(&done.written_at),
    }
}

fn rate(edges: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(edges as f64 / seconds) } else { 0.0 }
}

/// Rounds to three decimals.
pub fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl Summary {
    pub fn text(&self) -> String {
        let resumed = if self.resumed { " (over all runs)" } else { "" };
        let file = self.refused_file.as_ref().map(|file| format!("   {file}")).unwrap_or_default();
        let mut facts = vec![
            ("accepted", self.accepted.to_string()),
            ("unchanged", self.unchanged.to_string()),
            ("refused", format!("{}{file}", self.refused)),
        ];
        facts.extend(self.refused_by_reason.iter().map(|(reason, rows)| ("", format!("{rows} {reason}"))));
        facts.push(("seconds", format!("{:.1}{resumed}", self.seconds)));
        // The rate of less than a second says nothing.
        if self.seconds >= 1.0 {
            facts.push(("edges/s", format!("{:.0}", self.edges_per_second)));
        }
        facts.extend(self.written_at.iter().map(|token| ("token", token.clone())));
        output::facts(facts)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::files::testing::Folder;

    #[test]
    fn the_summary_adds_up() {
        let folder = Folder::new();
        let refused = RefusedFile::open(folder.path("r.tsv"), 0, false).unwrap();
        let done = Done {
            chunks: 2,
            lines: 1_500,
            accepted: 1_000,
            unchanged: 500,
            written_at: "1.0000000000000001.0000000000000385".to_owned(),
            elapsed: Duration::from_millis(500),
            refused: 0,
            ..Done::default()
        };
        let summary = Summary::new(&done, &refused, true, false);
        assert_eq!(
            summary.text(),
            "accepted   1000\nunchanged  500\nrefused    0\nseconds    0.5\n\
             token      1.0000000000000001.0000000000000385"
        );
        assert_eq!(
            serde_json::to_value(&summary).unwrap(),
            serde_json::json!({
                "complete": true,
                "resumed": false,
                "rows": 1500,
                "accepted": 1000,
                "unchanged": 500,
                "refused": 0,
                "refused_by_reason": {},
                "refused_file": null,
                "seconds": 0.5,
                "edges_per_second": 3000.0,
                "written_at": "1.0000000000000001.0000000000000385",
                "revision": 901,
            })
        );
    }
}
