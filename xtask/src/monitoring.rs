//! Alert rules and dashboards as files: what is in them, and whether it is whole.
//!
//! Owns: where they are, reading rules and panels out of them, and the checks that need no servers. promtool judges
//! the rules' form and their unit tests; what it does not know is checked here: that each alert has a section in
//! the runbooks and each section its alert, that each metric named is one of docs/metrics.md, that panels have ids
//! and places of their own.
//!
//! What can go wrong: nothing but what it is there to find.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{docs, fetch::run, prometheus::Programs, promql, workspace};

/// The sections of the runbooks that are alerts begin with this.
const PREFIX: &str = "Followgraph";
/// What dashboards write where the server fills in a time, and a time to parse them with.
const INTERVAL: (&str, &str) = ("$__rate_interval", "1m");

/// Where the rules are as an object of Kubernetes, from the root of the clone.
pub const PROMETHEUS_RULE_PATH: &str = "k8s/components/monitoring/rules.yaml";
/// Its beginning; the rules follow, indented.
const PROMETHEUS_RULE: &str = "\
# Made of k8s/monitoring/alerts.yaml by `cargo xtask docs`; a test holds it to that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: followgraph
spec:
";

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

/// A query of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The panel's title.
    pub panel: String,
    /// What it asks.
    pub expr: String,
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

/// The same rules as an object for the Prometheus operator. Kustomize reads no file outside of its folder, so there is a
/// copy.
pub fn prometheus_rule() -> Result<String> {
    let mut text = PROMETHEUS_RULE.to_owned();
    for line in rules_text()?.lines() {
        if !line.is_empty() {
            text += "  ";
        }
        text += line;
        text.push('\n');
    }
    Ok(text)
}

fn without_patience(line: &str) -> String {
    match line.split_once("for: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 0s\n"),
        _ if line.contains("changes(") => format!("{}\n", line.replace("[5m]", "[5s]")),
        _ => format!("{line}\n"),
    }
}

/// All queries of all dashboards.
pub fn queries() -> Result<Vec<Query>> {
    let mut queries = Vec::new();
    for file in dashboards()? {
        for panel in panels(&dashboard(&file)?) {
            let title = panel["title"].as_str().unwrap_or_default();
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expr = target["expr"].as_str().context("a target without an expr")?;
                queries.push(Query { panel: title.to_owned(), expr: expr.replace(INTERVAL.0, INTERVAL.1) });
            }
        }
    }
    Ok(queries)
}

/// All metrics that alerts and panels name, without the suffixes of histograms and what Prometheus adds by itself.
pub fn metrics_named() -> Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    let alerts = alerts()?.into_iter().map(|alert| alert.expr);
    for expr in alerts.chain(queries()?.into_iter().map(|query| query.expr)) {
        named.extend(promql::metrics(&expr).into_iter().map(|name| promql::family(&name).to_owned()));
    }
    named.remove("up");
    Ok(named)
}

/// Runs all checks.
pub fn check() -> Result<()> {
    let promtool = Programs::install()?.promtool;
    let tool = |arguments: [&str; 3]| run(Command::new(&promtool).args(arguments).current_dir(folder()));
    tool(["check", "rules", "alerts.yaml"])?;
    tool(["test", "rules", "alerts_test.yaml"])?;
    check_queries(&promtool)?;
    let mut wrong = Vec::new();
    for file in dashboards()? {
        wrong.extend(wrong_with_panels(&dashboard(&file)?));
    }
    let page = docs::metrics::read()?;
    let known: BTreeSet<_> = docs::metrics::names(&page).into_iter().collect();
    wrong.extend(metrics_named()?.difference(&known).map(|name| format!("{name} is not in docs/metrics.md")));
    let runbooks = read(&workspace::root().join("docs/runbooks.md"))?;
    let tests = read(&folder().join("alerts_test.yaml"))?;
    wrong.extend(wrong_with_runbooks(&alerts()?, &runbooks));
    wrong.extend(alerts()?.iter().flat_map(|alert| untested(alert, &tests)));
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

fn dashboards() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder().join("dashboards"))? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

fn dashboard(file: &Path) -> Result<Value> {
    serde_json::from_str(&read(file)?).with_context(|| format!("{} is not JSON", file.display()))
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().into_iter().flatten()
}

/// promtool cannot be given a query alone, but a rule with it.
fn check_queries(promtool: &Path) -> Result<()> {
    let rule =
        |(number, query): (usize, &Query)| json!({"record": format!("query:{number}"), "expr": query.expr});
    let rules: Vec<_> = queries()?.iter().enumerate().map(rule).collect();
    let file = std::env::temp_dir().join(format!("followgraph-queries-{}.yaml", std::process::id()));
    // JSON is YAML.
    fs::write(&file, json!({"groups": [{"name": "queries", "rules": rules}]}).to_string())?;
    let outcome = run(Command::new(promtool).args(["check", "rules"]).arg(&file));
    fs::remove_file(&file)?;
    outcome.context("a query of a dashboard does not parse")
}

fn wrong_with_panels(dashboard: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut ids, mut titles, mut places) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in panels(dashboard) {
        let title = panel["title"].as_str().unwrap_or_default();
        if !panel["id"].as_u64().is_some_and(|id| ids.insert(id)) {
            wrong.push(format!("panel {title:?} has no id of its own"));
        }
        if title.is_empty() || !titles.insert(title) {
            wrong.push(format!("panel {title:?} has no title of its own"));
        }
        if !places.insert(panel["gridPos"].to_string()) {
            wrong.push(format!("panel {title:?} lies on another"));
        }
        if panel["type"] != "row" && panel["targets"].as_array().is_none_or(Vec::is_empty) {
            wrong.push(format!("panel {title:?} asks nothing"));
        }
    }
    wrong
}

fn wrong_with_runbooks(alerts: &[Alert], runbooks: &str) -> Vec<String> {
    let sections: BTreeSet<_> = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .filter(|t| t.starts_with(PREFIX))
        .collect();
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let mut wrong: Vec<_> = sections
        .symmetric_difference(&names)
        .map(|name| format!("{name}: an alert without a runbook, or the other way round"))
        .collect();
    for alert in alerts {
        let anchor = format!("docs/runbooks.md#{}", alert.name.to_lowercase());
        if !alert.runbook.ends_with(&anchor) {
            wrong.push(format!("{}: runbook_url does not end with {anchor}", alert.name));
        }
    }
    wrong
}

/// A test must show it silent and firing.
fn untested(alert: &Alert, tests: &str) -> Vec<String> {
    let silent = format!("{{ alertname: {}, ", alert.name);
    let fires = format!("- alertname: {}\n", alert.name);
    let missing = [silent, fires].into_iter().filter(|text| !tests.contains(text.as_str()));
    missing.map(|text| format!("alerts_test.yaml has no {text:?}")).collect()
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

fn read(path: &Path) -> Result<String> {
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
    fn runbooks_and_alerts_are_held_against_each_other() {
        let alerts = parse_alerts(RULES).unwrap();
        let wrong =
            wrong_with_runbooks(&alerts, "## FollowgraphOne\n## FollowgraphThree\n## How to read this\n");
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].contains("FollowgraphThree") && wrong[1].contains("FollowgraphTwo"), "{wrong:?}");
        assert!(wrong[2].contains("#followgraphtwo"), "{wrong:?}");
    }

    #[test]
    fn panels_that_share_an_id_or_ask_nothing_are_found() {
        let panel = json!({"id": 1, "title": "A", "type": "timeseries", "gridPos": {"x": 0}, "targets": [{"expr": "up"}]});
        assert!(wrong_with_panels(&json!({"panels": [panel.clone()]})).is_empty());
        assert_eq!(wrong_with_panels(&json!({"panels": [panel.clone(), panel]})).len(), 3);
        assert_eq!(wrong_with_panels(&json!({"panels": [{"id": 2, "title": "B", "type": "stat"}]})).len(), 1);
    }

    #[test]
    fn the_object_for_kubernetes_has_the_same_rules() {
        let kept = read(&workspace::root().join(PROMETHEUS_RULE_PATH)).unwrap();
        assert!(kept == prometheus_rule().unwrap(), "run `cargo xtask docs`");
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
