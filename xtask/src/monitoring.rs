//! Static checks of alert rules and dashboards.
//!
//! promtool checks the syntax of the rules and runs their unit tests. The rest is checked here: each alert has a section
//! in the runbooks and each section an alert, every metric is in docs/metrics.md, and panels have unique ids and places.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use devstack::{
    fetch::run,
    monitoring::{Alert, alerts, dashboards, folder, metrics_named, panels, queries, rules_text},
    prometheus::Programs,
    workspace,
};
use serde_json::{Value, json};

use crate::docs;

/// Prefix of sections of the runbooks that are alerts.
const PREFIX: &str = "Followgraph";

/// Path of the PrometheusRule, from the root of the clone.
pub const PROMETHEUS_RULE_PATH: &str = "k8s/components/monitoring/rules.yaml";
/// Its head; the indented rules follow.
const PROMETHEUS_RULE: &str = "\
# Made of k8s/monitoring/alerts.yaml by `cargo xtask docs`; a test holds it to that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: followgraph
spec:
";

/// The rules as a PrometheusRule. Kustomize reads no file outside of its folder, so the overlay has a copy.
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

/// Runs all checks.
pub fn check() -> Result<()> {
    let promtool = Programs::install()?.promtool;
    let tool = |arguments: [&str; 3]| run(Command::new(&promtool).args(arguments).current_dir(folder()));
    tool(["check", "rules", "alerts.yaml"])?;
    tool(["test", "rules", "alerts_test.yaml"])?;
    check_queries(&promtool)?;
    let mut wrong = Vec::new();
    for dashboard in dashboards()? {
        wrong.extend(wrong_with_panels(&dashboard));
    }
    let page = workspace::read(docs::metrics::PATH)?;
    let known: BTreeSet<_> = docs::metrics::names(&page).into_iter().collect();
    wrong.extend(metrics_named()?.difference(&known).map(|name| format!("{name} is not in docs/metrics.md")));
    let runbooks = workspace::read("docs/runbooks.md")?;
    let tests: Value = serde_norway::from_str(&workspace::read("k8s/monitoring/alerts_test.yaml")?)?;
    wrong.extend(wrong_with_runbooks(&alerts()?, &runbooks));
    wrong.extend(alerts()?.iter().flat_map(|alert| untested(alert, &tests)));
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

/// Checks the syntax of all queries. promtool takes rules only, so each query becomes one.
fn check_queries(promtool: &Path) -> Result<()> {
    let rule =
        |(number, query): (usize, &String)| json!({"record": format!("query:{number}"), "expr": query});
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
            wrong.push(format!("panel {title:?} has no unique id"));
        }
        if title.is_empty() || !titles.insert(title) {
            wrong.push(format!("panel {title:?} has no unique title"));
        }
        if !places.insert(panel["gridPos"].to_string()) {
            wrong.push(format!("panel {title:?} overlaps another"));
        }
        if panel["type"] != "row" && panel["targets"].as_array().is_none_or(Vec::is_empty) {
            wrong.push(format!("panel {title:?} has no query"));
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
        .map(|name| format!("{name}: an alert without a runbook, or a runbook without an alert"))
        .collect();
    for alert in alerts {
        let anchor = format!("docs/runbooks.md#{}", alert.name.to_lowercase());
        if !alert.annotations.runbook_url.ends_with(&anchor) {
            wrong.push(format!("{}: runbook_url does not end with {anchor}", alert.name));
        }
    }
    wrong
}

/// Tests show each alert silent and firing.
fn untested(alert: &Alert, tests: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let cases: Vec<_> = list(&tests["tests"])
        .iter()
        .flat_map(|test| list(&test["alert_rule_test"]))
        .filter(|case| case["alertname"] == alert.name.as_str())
        .map(|case| list(&case["exp_alerts"]).is_empty())
        .collect();
    let missing =
        [(true, "silent"), (false, "firing")].into_iter().filter(|(silent, _)| !cases.contains(silent));
    missing.map(|(_, state)| format!("alerts_test.yaml has no test of {} {state}", alert.name)).collect()
}

#[cfg(test)]
mod tests {
    use devstack::monitoring::Annotations;

    use super::*;

    fn alert(name: &str, section: &str) -> Alert {
        Alert {
            name: name.to_owned(),
            expr: "up == 0".to_owned(),
            annotations: Annotations { runbook_url: format!("x/docs/runbooks.md#{section}") },
        }
    }

    #[test]
    fn runbooks_and_alerts_match() {
        let alerts = [alert("FollowgraphOne", "followgraphone"), alert("FollowgraphTwo", "other")];
        let wrong =
            wrong_with_runbooks(&alerts, "## FollowgraphOne\n## FollowgraphThree\n## How to read this\n");
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].contains("FollowgraphThree") && wrong[1].contains("FollowgraphTwo"), "{wrong:?}");
        assert!(wrong[2].contains("#followgraphtwo"), "{wrong:?}");
    }

    #[test]
    fn panels_with_a_shared_id_or_no_query_are_found() {
        let panel = json!({"id": 1, "title": "A", "type": "timeseries", "gridPos": {"x": 0}, "targets": [{"expr": "up"}]});
        assert!(wrong_with_panels(&json!({"panels": [panel.clone()]})).is_empty());
        assert_eq!(wrong_with_panels(&json!({"panels": [panel.clone(), panel]})).len(), 3);
        assert_eq!(wrong_with_panels(&json!({"panels": [{"id": 2, "title": "B", "type": "stat"}]})).len(), 1);
    }

    #[test]
    fn the_object_for_kubernetes_has_the_same_rules() {
        let kept = workspace::read(PROMETHEUS_RULE_PATH).unwrap();
        assert!(kept == prometheus_rule().unwrap(), "run `cargo xtask docs`");
    }

    #[test]
    fn an_alert_is_tested_silent_and_firing() {
        let silent = json!({"alertname": "A", "exp_alerts": []});
        let firing = json!({"alertname": "A", "exp_alerts": [{"exp_labels": {}}]});
        for (cases, missing) in [
            (json!([silent, firing]), vec![]),
            (json!([silent]), vec!["alerts_test.yaml has no test of A firing"]),
            (json!([firing]), vec!["alerts_test.yaml has no test of A silent"]),
        ] {
            assert_eq!(untested(&alert("A", "a"), &json!({"tests": [{"alert_rule_test": cases}]})), missing);
        }
    }
}
