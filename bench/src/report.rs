//! The figures of a run, for people and for programs.

use comfy_table::{Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Clients at a time.
    pub clients: usize,
    /// Operations (or edges) a second.
    pub per_second: f64,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile in milliseconds.
    pub p99_ms: Option<f64>,
    /// The measurement of the same run that it is compared with.
    pub baseline: Option<String>,
    /// Rate against that baseline.
    pub ratio: Option<f64>,
}

/// What is promised of a figure.
#[derive(Debug, Serialize)]
pub struct Mark {
    /// Of what.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// The promise, in words.
    pub promise: String,
    /// It was kept.
    pub kept: bool,
}

/// All of them.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    rows: Vec<Row>,
    marks: Vec<Mark>,
}

impl Report {
    /// Adds a measurement; a ratio if `baseline` names an earlier one with as many clients.
    pub fn add(
        &mut self,
        name: &str,
        clients: usize,
        per_second: f64,
        latencies: Option<&Histogram<u64>>,
        baseline: Option<&str>,
    ) {
        let millis = |quantile: f64| latencies.map(|h| h.value_at_quantile(quantile) as f64 / 1_000.0);
        let base = baseline
            .and_then(|name| self.rows.iter().find(|row| row.name == name && row.clients == clients))
            .map(|row| row.per_second);
        eprintln!("{name}, {clients} clients: {per_second:.0}/s");
        self.rows.push(Row {
            name: name.to_owned(),
            clients,
            per_second,
            p50_ms: millis(0.5),
            p99_ms: millis(0.99),
            baseline: base.and(baseline).map(str::to_owned),
            ratio: base.map(|base| per_second / base),
        });
    }

    /// How the median of one measurement compares with that of another.
    pub fn compare_medians(&self, name: &str, base: &str, clients: usize) -> Option<f64> {
        let median = |name: &str| {
            self.rows.iter().find(|row| row.name == name && row.clients == clients).and_then(|row| row.p50_ms)
        };
        Some(median(name)? / median(base)?)
    }

    /// A figure must not be larger than that.
    pub fn at_most(&mut self, name: &str, value: f64, limit: f64) {
        self.mark(name, value, format!("at most {limit}"), value <= limit);
    }

    /// A figure must not be smaller than that.
    pub fn at_least(&mut self, name: &str, value: f64, limit: f64) {
        self.mark(name, value, format!("at least {limit}"), value >= limit);
    }

    fn mark(&mut self, name: &str, value: f64, promise: String, kept: bool) {
        let outcome = if kept { "kept" } else { "MISSED" };
        eprintln!("{name}: {value:.2}, promised {promise}: {outcome}");
        self.marks.push(Mark { name: name.to_owned(), value, promise, kept });
    }

    /// The promises that were not kept.
    pub fn missed(&self) -> Vec<&Mark> {
        self.marks.iter().filter(|mark| !mark.kept).collect()
    }

    /// The measurements, in their order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// For people.
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

    /// For programs.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}
