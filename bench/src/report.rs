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

/// All of them.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    rows: Vec<Row>,
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
