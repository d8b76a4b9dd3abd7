//! Compares two sets of programs, measured in turns, so that a machine that slows down affects both.

use std::path::Path;

use anyhow::Result;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::args::Args;
use crate::measure;
use crate::report::{Report, Row};
use crate::setup::Edge;

#[derive(Debug, Serialize)]
struct Compared {
    name: String,
    clients: usize,
    per_second: Pair,
    p50_ms: Option<Pair>,
    p99_ms: Option<Pair>,
}

/// A figure of both sets.
#[derive(Debug, Serialize)]
struct Pair {
    ours: Spread,
    theirs: Spread,
    /// Our median divided by theirs.
    ratio: f64,
}

/// A figure over all rounds.
#[derive(Debug, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

#[derive(Debug, Serialize)]
pub struct Comparison(Vec<Compared>);

/// Measures both sets `args.rounds` times on fresh servers. Every second round starts with theirs.
pub async fn compare(args: &Args, edges: &[Edge], ours: &Path, theirs: &Path) -> Result<Comparison> {
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        let mut turns = [(ours, &mut of_ours), (theirs, &mut of_theirs)];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (binaries, reports) in turns {
            eprintln!("round {} of {}: {}", round + 1, args.rounds, binaries.display());
            reports.push(measure::all(args, edges, binaries).await?);
        }
    }
    let rows = of_ours.first().map(Report::rows).unwrap_or_default();
    Ok(Comparison(rows.iter().filter_map(|row| compared(row, &of_ours, &of_theirs)).collect()))
}

/// `None` if the other set does not have this measurement.
fn compared(row: &Row, ours: &[Report], theirs: &[Report]) -> Option<Compared> {
    let pair = |figure: fn(&Row) -> Option<f64>| {
        let spread = |reports: &[Report]| {
            let same = |other: &&Row| other.name == row.name && other.clients == row.clients;
            Spread::of(reports.iter().filter_map(|report| report.rows().iter().find(same)).filter_map(figure))
        };
        let (ours, theirs) = (spread(ours)?, spread(theirs)?);
        Some(Pair { ratio: ours.median / theirs.median, ours, theirs })
    };
    Some(Compared {
        name: row.name.clone(),
        clients: row.clients,
        per_second: pair(|row| Some(row.per_second))?,
        p50_ms: pair(|row| row.p50_ms),
        p99_ms: pair(|row| row.p99_ms),
    })
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 => (figures.get(middle.checked_sub(1)?)? + figures[middle]) / 2.0,
            _ => figures[middle],
        };
        Some(Self { median, least: *figures.first()?, most: *figures.last()? })
    }
}

impl Comparison {
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["what", "clients", "figure", "ours", "theirs", "ratio"]);
        let spread =
            |spread: &Spread| format!("{:.2} ({:.2} to {:.2})", spread.median, spread.least, spread.most);
        for row in &self.0 {
            let figures = [
                ("per second", Some(&row.per_second)),
                ("p50 ms", row.p50_ms.as_ref()),
                ("p99 ms", row.p99_ms.as_ref()),
            ];
            for (figure, pair) in figures.into_iter().filter_map(|(figure, pair)| Some((figure, pair?))) {
                table.add_row([
                    row.name.clone(),
                    row.clients.to_string(),
                    figure.to_owned(),
                    spread(&pair.ours),
                    spread(&pair.theirs),
                    format!("{:.2}", pair.ratio),
                ]);
            }
        }
        table.to_string()
    }

    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn spread_is_median_least_and_most() {
        let odd = Spread::of([3.0, 1.0, 2.0].into_iter()).expect("figures");
        assert_eq!((odd.median, odd.least, odd.most), (2.0, 1.0, 3.0));
        let even = Spread::of([4.0, 1.0].into_iter()).expect("figures");
        assert_eq!((even.median, even.least, even.most), (2.5, 1.0, 4.0));
        assert!(Spread::of(std::iter::empty()).is_none());
    }
}
