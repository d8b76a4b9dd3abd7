//! `import --dry-run`: reads all rows, and counts those that are refused whatever the graph contains.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proto::error::Reason;
use proto::timestamp;
use serde::Serialize;
use time::OffsetDateTime;

use super::reader::{self, InputFormat};
use super::row::{Line, Refused};
use crate::global::{GlobalArgs, Outcome};
use crate::{dates, output};

/// Number of refused rows that are printed.
const SHOWN: usize = 10;

#[derive(Debug, Default, PartialEq, Serialize)]
struct Findings {
    dry_run: bool,
    rows: u64,
    edges: u64,
    refused: u64,
    refused_by_reason: BTreeMap<&'static str, u64>,
    /// Dates read as UTC.
    dates_without_zone: u64,
}

pub async fn run(global: &GlobalArgs, path: PathBuf, format: InputFormat) -> anyhow::Result<Outcome> {
    let reading = tokio::task::spawn_blocking(move || {
        let input = reader::open(&path, format, true)?;
        input.words.iter().for_each(output::note);
        find(input.lines, dates::now() + timestamp::CLOCK_TOLERANCE, |refused| {
            output::note(refused.to_string());
        })
    });
    let findings = reading.await??;
    global.output.answer(&findings, || findings.text())?;
    Ok(Outcome::from(findings.refused == 0))
}

/// Refuses edges that are newer than `latest`.
fn find(
    lines: reader::Lines,
    latest: OffsetDateTime,
    mut show: impl FnMut(&Refused),
) -> anyhow::Result<Findings> {
    let mut found = Findings { dry_run: true, ..Findings::default() };
    for line in lines {
        found.rows += 1;
        let refused = match line? {
            Line::Edge(row) if row.created_at.is_none_or(|at| at <= latest) => {
                found.edges += 1;
                found.dates_without_zone += u64::from(row.without_zone);
                continue;
            }
            Line::Edge(row) => {
                row.refused(Reason::InvalidTimestamp, "created_at must not be in the future".to_owned())
            }
            Line::Refused(refused) => refused,
        };
        if found.refused < SHOWN as u64 {
            show(&refused);
        }
        found.refused += 1;
        *found.refused_by_reason.entry(refused.reason).or_default() += 1;
    }
    Ok(found)
}

impl Findings {
    fn text(&self) -> String {
        let mut facts = vec![("edges", self.edges.to_string()), ("refused", self.refused.to_string())];
        facts.extend(self.refused_by_reason.iter().map(|(reason, rows)| ("", format!("{rows} {reason}"))));
        if self.dates_without_zone > 0 {
            facts.push(("as UTC", format!("{}   dates without a time zone", self.dates_without_zone)));
        }
        format!("{}\nnothing was sent", output::facts(facts))
    }
}

#[cfg(test)]
mod tests {
    use proto::graph::v1::EdgeKind;

    use super::*;
    use crate::files::testing::Folder;

    #[test]
    fn all_rows_are_counted_and_some_refused_ones_shown() {
        let folder = Folder::new();
        let path = folder.path("edges.tsv");
        let refused = "1\t1\n".repeat(SHOWN + 1);
        std::fs::write(&path, format!("1\t2\t2024-03-05\n{refused}x\t2\n1\t3\t2024-03-07\n")).unwrap();
        let format = InputFormat { delimited: None, columns: None, kind: EdgeKind::Follow };
        let mut shown = Vec::new();
        let lines = reader::open(&path, format, true).unwrap().lines;
        let latest = dates::parse("2024-03-06").unwrap();
        let found = find(lines, latest, |row| shown.push(row.line)).unwrap();
        assert_eq!(shown, (2..12).collect::<Vec<_>>());
        assert_eq!((found.rows, found.edges, found.refused, found.dates_without_zone), (14, 1, 13, 1));
        assert_eq!(
            found.refused_by_reason,
            [("INVALID_TIMESTAMP", 1), ("INVALID_UUID", 1), ("SELF_EDGE", 11)].into()
        );
        assert!(found.text().ends_with("dates without a time zone\nnothing was sent"), "{}", found.text());
    }
}
