//! Alert rules and dashboards of `k8s/monitoring`: what they ask of Prometheus.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{promql, workspace};

/// What dashboards write where the server fills in a time, and a time to parse them with.
const INTERVAL: (&str, &str) = ("$__rate_interval", "1m");

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// What it asks.
    pub expr: String,
    /// Where it says that its section is.
    pub runbook: String,
}

/// The folder of rules and dashboards.
pub fn folder() -> PathBuf {
    workspace::root().join("k8s/monitoring")
}

/// The rules, as text.
pub fn rules_text() -> Result<String> {
    read(&folder().join("alerts.yaml"))
}

/// All alerts.
pub fn alerts() -> Result<Vec<Alert>> {
    parse_alerts(&rules_text()?)
}

/// The rules without patience, so that an alert fires at once: every waiting time is cut to nothing, and every window in
/// which something must have stood still to five seconds.
pub fn rules_without_patience() -> Result<String> {
    Ok(rules_text()?.lines().map(without_patience).collect())
}

fn without_patience(line: &str) -> String {
    match line.split_once("for: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 0s\n"),
        _ if line.contains("changes(") => format!("{}\n", line.replace("[5m]", "[5s]")),
        _ => format!("{line}\n"),
    }
}

/// All queries of all dashboards.
pub fn queries() -> Result<Vec<String>> {
    let mut queries = Vec::new();
    for dashboard in dashboards()? {
        for target in panels(&dashboard).flat_map(|panel| panel["targets"].as_array()).flatten() {
            let expr = target["expr"].as_str().context("a target without an expr")?;
            queries.push(expr.replace(INTERVAL.0, INTERVAL.1));
        }
    }
    Ok(queries)
}

/// All metrics that alerts and panels name, without the suffixes of histograms and what Prometheus adds by itself.
pub fn metrics_named() -> Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    let alerts = alerts()?.into_iter().map(|alert| alert.expr);
    for expr in alerts.chain(queries()?) {
        named.extend(promql::metrics(&expr).into_iter().map(|name| promql::family(&name).to_owned()));
    }
    named.remove("up");
    Ok(named)
}

/// All dashboards, in order of their names.
pub fn dashboards() -> Result<Vec<Value>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder().join("dashboards"))? {
        files.push(entry?.path());
    }
    files.sort();
    let parse = |file: &PathBuf| {
        serde_json::from_str(&read(file)?).with_context(|| format!("{} is not JSON", file.display()))
    };
    files.iter().map(parse).collect()
}

/// The panels of a dashboard.
pub fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().into_iter().flatten()
}

/// Reads the rules, as far as it is needed: promtool has found their form right.
fn parse_alerts(text: &str) -> Result<Vec<Alert>> {
    let mut alerts: Vec<Alert> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if let Some(name) = line.strip_prefix("- alert: ") {
            alerts.push(Alert { name: name.to_owned(), expr: String::new(), runbook: String::new() });
        }
        let Some(alert) = alerts.last_mut() else { continue };
        if let Some(expr) = line.strip_prefix("expr: ") {
            expr.clone_into(&mut alert.expr);
            if expr == ">-" {
                alert.expr.clear();
                while let Some(more) = lines.next_if(|more| more.len() - more.trim_start().len() > indent) {
                    alert.expr += more.trim();
                    alert.expr.push(' ');
                }
            }
        }
        if let Some(url) = line.strip_prefix("runbook_url: ") {
            url.clone_into(&mut alert.runbook);
        }
    }
    match alerts.iter().find(|alert| alert.expr.is_empty() || alert.runbook.is_empty()) {
        Some(alert) => bail!("{} has no expr or no runbook_url that can be read", alert.name),
        None => Ok(alerts),
    }
}

/// Reads a file; an error names it.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "\
groups:
  - name: g
    rules:
      - alert: FollowgraphOne
        expr: >-
          a_total
          / b_total
        for: 5m
        annotations:
          summary: \"for: ever\"
          runbook_url: x/docs/runbooks.md#followgraphone
      - alert: FollowgraphTwo
        expr: up == 0
        annotations:
          runbook_url: x/docs/runbooks.md#other
";

    #[test]
    fn rules_are_read() {
        let alerts = parse_alerts(RULES).unwrap();
        assert_eq!(alerts.len(), 2);
        assert_eq!(alerts[0].expr.trim(), "a_total / b_total");
        assert_eq!(alerts[1].expr, "up == 0");
    }

    #[test]
    fn every_file_here_is_whole() {
        let named = metrics_named().unwrap();
        assert!(named.contains("projector_lag_seconds") && !named.contains("up"), "{named:?}");
        let impatient = rules_without_patience().unwrap();
        assert!(!impatient.contains("for: 5m"));
        assert!(impatient.contains("changes(followgraph_relay_stream_revision[5s])"));
    }
}
