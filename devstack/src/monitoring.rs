//! Reads the alert rules and dashboards of `k8s/monitoring`.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::{promql, workspace};

/// A variable of dashboards that Grafana replaces, and a value for it.
const INTERVAL: (&str, &str) = ("$__rate_interval", "1m");

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Alert {
    /// Its name.
    #[serde(rename = "alert")]
    pub name: String,
    /// Its query.
    pub expr: String,
    /// Its annotations.
    pub annotations: Annotations,
}

/// The annotations of an alert that are checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Annotations {
    /// Link to its section in the runbooks.
    pub runbook_url: String,
}

/// The folder of rules and dashboards.
pub fn folder() -> PathBuf {
    workspace::root().join("k8s/monitoring")
}

/// The rules, as text.
pub fn rules_text() -> Result<String> {
    workspace::read("k8s/monitoring/alerts.yaml")
}

/// All alerts.
pub fn alerts() -> Result<Vec<Alert>> {
    rules(&mut parsed()?).map(|rule| Ok(Alert::deserialize(&*rule)?)).collect()
}

fn parsed() -> Result<Value> {
    serde_norway::from_str(&rules_text()?).context("cannot read alerts.yaml")
}

fn rules(file: &mut Value) -> impl Iterator<Item = &mut Value> {
    let groups = file["groups"].as_array_mut().into_iter().flatten();
    groups.filter_map(|group| group["rules"].as_array_mut()).flatten()
}

/// The rules for tests, where alerts fire at once: `for` is 0 s, and windows of `changes` are 5 s.
pub fn rules_without_patience() -> Result<String> {
    let mut file = parsed()?;
    for rule in rules(&mut file) {
        rule["for"] = "0s".into();
        let expr = rule["expr"].as_str().context("a rule without an expr")?;
        if expr.contains("changes(") {
            rule["expr"] = expr.replace("[5m]", "[5s]").into();
        }
    }
    // JSON is YAML.
    Ok(file.to_string())
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

/// All metrics in alerts and panels, without suffixes of histograms and Prometheus' own `up`.
pub fn metrics_named() -> Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    let alerts = alerts()?.into_iter().map(|alert| alert.expr);
    for expr in alerts.chain(queries()?) {
        named.extend(promql::metrics(&expr).into_iter().map(|name| promql::family(&name).to_owned()));
    }
    named.remove("up");
    Ok(named)
}

/// All dashboards, sorted by file name.
pub fn dashboards() -> Result<Vec<Value>> {
    let files = fs::read_dir(folder().join("dashboards"))?;
    let mut files: Vec<PathBuf> = files.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let parse = |file: &PathBuf| {
        serde_json::from_str(&workspace::read(file)?)
            .with_context(|| format!("{} is not JSON", file.display()))
    };
    files.iter().map(parse).collect()
}

/// The panels of a dashboard.
pub fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_can_be_read() {
        let named = metrics_named().unwrap();
        assert!(named.contains("projector_lag_seconds") && !named.contains("up"), "{named:?}");
        let impatient = rules_without_patience().unwrap();
        assert!(impatient.contains(r#""for":"0s""#) && !impatient.contains(r#""for":"5m""#));
        assert!(impatient.contains("changes(followgraph_relay_stream_revision[5s])"));
    }
}
