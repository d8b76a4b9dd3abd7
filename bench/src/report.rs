//! The figures of a run, for people and programs.

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::load::Outcome;

/// One measurement.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    /// Name of the measurement.
    pub name: String,
    /// Number of concurrent clients.
    pub clients: usize,
    /// Operations (or edges) per second.
    pub per_second: f64,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile in milliseconds.
    pub p99_ms: Option<f64>,
    /// Name of the measurement of the same run to compare with.
    pub baseline: Option<String>,
    /// Rate divided by that of the baseline.
    pub ratio: Option<f64>,
}

impl Row {
    fn new(name: &str, clients: usize, per_second: f64) -> Self {
        Self { name: name.to_owned(), clients, per_second, ..Self::default() }
    }
}

/// A target for a figure.
#[derive(Debug, Serialize)]
pub struct Target {
    /// Name of the figure.
    pub name: String,
    /// Measured value.
    pub value: f64,
    /// The target in words.
    pub promise: String,
    /// Whether the value meets the target.
    pub kept: bool,
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    rows: Vec<Row>,
    #[serde(rename = "marks")]
    targets: Vec<Target>,
}

impl Report {
    /// Adds a measurement, with a ratio if `baseline` names an earlier one with the same number of clients.
    pub fn add(&mut self, name: &str, clients: usize, outcome: &Outcome, baseline: Option<&str>) {
        let base = baseline.and_then(|name| self.row(name, clients)).map(|row| row.per_second);
        self.push(Row {
            p50_ms: Some(outcome.millis(0.5)),
            p99_ms: Some(outcome.millis(0.99)),
            baseline: base.and(baseline).map(str::to_owned),
            ratio: base.map(|base| outcome.rate / base),
            ..Row::new(name, clients, outcome.rate)
        });
    }

    /// Adds a number of edges per second.
    pub fn add_edges(&mut self, name: &str, per_second: f64) {
        self.push(Row::new(&format!("{name} (edges)"), 1, per_second));
    }

    fn push(&mut self, row: Row) {
        eprintln!("{}, {} clients: {:.0}/s", row.name, row.clients, row.per_second);
        self.rows.push(row);
    }

    fn row(&self, name: &str, clients: usize) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name && row.clients == clients)
    }

    /// The median of one measurement divided by that of another.
    pub fn compare_medians(&self, name: &str, base: &str, clients: usize) -> Option<f64> {
        let median = |name: &str| self.row(name, clients)?.p50_ms;
        Some(median(name)? / median(base)?)
    }

    /// Adds a figure that must not exceed `limit`.
    pub fn at_most(&mut self, name: &str, value: f64, limit: f64) {
        self.target(name, value, format!("at most {limit}"), value <= limit);
    }

    /// Adds a figure that must not be below `limit`.
    pub fn at_least(&mut self, name: &str, value: f64, limit: f64) {
        self.target(name, value, format!("at least {limit}"), value >= limit);
    }

    fn target(&mut self, name: &str, value: f64, promise: String, kept: bool) {
        let outcome = if kept { "kept" } else { "MISSED" };
        eprintln!("{name}: {value:.2}, promised {promise}: {outcome}");
        self.targets.push(Target { name: name.to_owned(), value, promise, kept });
    }

    /// The missed targets.
    pub fn missed(&self) -> Vec<&Target> {
        self.targets.iter().filter(|target| !target.kept).collect()
    }

    /// The measurements.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["what", "clients", "per second", "p50 ms", "p99 ms", "ratio", "against"]);
        let millis = |value: Option<f64>| value.map(|ms| format!("{ms:.2}")).unwrap_or_default();
        for row in &self.rows {
            table.add_row([
                row.name.clone(),
                row.clients.to_string(),
                format!("{:.0}", row.per_second),
                millis(row.p50_ms),
                millis(row.p99_ms),
                row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                row.baseline.clone().unwrap_or_default(),
            ]);
        }
        table.to_string()
    }

    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}
