//! The monitoring component with a real Prometheus operator: Prometheus scrapes every pod, evaluates every alert, and has
//! data for each metric of the alerts and for each query of the dashboards.

use std::{
    collections::BTreeSet,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use devstack::{
    monitoring::{alerts, dashboards, panels, queries},
    promql,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{
    cluster::{Cluster, Forward, output, until},
    kubectl::Kubectl,
    manifests::{items, text},
    operators, production,
};

/// Pods of the three services with the counts of the overlay.
const TARGETS: [(&str, usize); 3] = [("command-service", 2), ("query-service", 3), ("projector", 3)];
/// The operator writes a configuration within seconds; rates need two scrapes, and mounted files change within a minute.
const LIMIT: Duration = Duration::from_secs(240);
/// How long the healthy system is observed: no alert may fire.
const QUIET: Duration = Duration::from_secs(60);

pub fn prometheus(cluster: &mut Cluster) -> Result<Vec<String>> {
    operators::policies(&cluster.node)?;
    operators::prometheus(&cluster.node)?;
    let here = production::installed(cluster)?;
    let kubectl = Kubectl::new(&here.node);
    let begun = Instant::now();
    until(LIMIT, || targets(&kubectl))?;
    let mut seen = vec![format!(
        "all pods of the three services are scraped, {:.0} s after Prometheus was ready, with job, namespace and pod",
        begun.elapsed().as_secs_f64()
    )];

    let calls = Calls::start(&here)?;
    let named: BTreeSet<String> = alerts()?.iter().flat_map(|alert| promql::metrics(&alert.expr)).collect();
    // Rates need two scrapes.
    until(LIMIT, || calls.round().and_then(|()| filled(&kubectl, &named)))?;
    seen.push(format!("{} alerts: data for all of their {} metrics", alerts()?.len(), named.len()));
    until(LIMIT, || evaluated(&kubectl))?;
    seen.push("every alert is loaded and evaluated without an error".to_owned());
    let queries: BTreeSet<String> = queries()?.into_iter().collect();
    until(LIMIT, || calls.round().and_then(|()| filled(&kubectl, &queries)))?;
    let dashboards = dashboards()?;
    let with_queries = |panel: &&Value| panel["targets"].is_array();
    let panels = dashboards.iter().flat_map(panels).filter(with_queries).count();
    seen.push(format!("{panels} panels: data for all {} queries", queries.len()));

    thread::sleep(QUIET);
    let active = request(&kubectl, "alerts")?;
    let firing: Vec<String> = items(&active["alerts"])
        .iter()
        .filter(|alert| alert["state"] == "firing")
        .map(|alert| alert["labels"].to_string())
        .collect();
    ensure!(firing.is_empty(), "alerts fire on a healthy system: {firing:#?}");
    let pending: BTreeSet<&str> =
        items(&active["alerts"]).iter().map(|alert| text(&alert["labels"]["alertname"])).collect();
    seen.push(format!("after {} s no alert fires; pending: {pending:?}", begun.elapsed().as_secs()));
    Ok(seen)
}

/// All pods are up, and each has the labels that alerts, dashboard and autoscaler need.
fn targets(kubectl: &Kubectl<'_>) -> Result<()> {
    let rows = rows(kubectl, "up")?;
    for (service, count) in TARGETS {
        let up = rows.iter().filter(|row| {
            let labels = &row["metric"];
            labels["job"] == service
                && labels["namespace"] == production::NAMESPACE
                && text(&labels["pod"]).starts_with(service)
                && row["value"][1] == "1"
        });
        let up = up.count();
        ensure!(up == count, "{up} of {count} pods of {service} are scraped: {rows:#?}");
    }
    Ok(())
}

/// Every alert of the repository is in Prometheus, and healthy.
fn evaluated(kubectl: &Kubectl<'_>) -> Result<()> {
    let answer = request(kubectl, "rules?type=alert")?;
    let rules: Vec<&Value> =
        items(&answer["groups"]).iter().flat_map(|group| items(&group["rules"])).collect();
    for alert in alerts()? {
        let rule = rules.iter().find(|rule| rule["name"] == alert.name.as_str());
        let rule = rule.with_context(|| format!("Prometheus has no alert {}", alert.name))?;
        ensure!(rule["health"] == "ok", "{} is {}: {}", alert.name, rule["health"], rule["lastError"]);
    }
    Ok(())
}

/// Every query has at least one row now.
fn filled(kubectl: &Kubectl<'_>, queries: &BTreeSet<String>) -> Result<()> {
    let mut empty = Vec::new();
    for query in queries {
        if rows(kubectl, query)?.is_empty() {
            empty.push(query);
        }
    }
    ensure!(empty.is_empty(), "no data for {empty:#?}");
    Ok(())
}

fn rows(kubectl: &Kubectl<'_>, query: &str) -> Result<Vec<Value>> {
    let encoded = utf8_percent_encode(query, NON_ALPHANUMERIC);
    let mut answer = request(kubectl, &format!("query?query={encoded}"))?;
    match answer["result"].take() {
        Value::Array(rows) => Ok(rows),
        other => Err(anyhow::anyhow!("not a result: {other}")),
    }
}

/// The data of an answer of Prometheus' API, through the API server.
fn request(kubectl: &Kubectl<'_>, request: &str) -> Result<Value> {
    let path = format!("/api/v1/namespaces/monitoring/pods/prometheus-cluster-0:9090/proxy/api/v1/{request}");
    let mut answer: Value = serde_json::from_str(&kubectl.run(&["get", "--raw", &path])?)?;
    ensure!(answer["status"] == "success", "Prometheus refuses {request}: {answer}");
    Ok(answer["data"].take())
}

/// Calls of every kind that a panel shows, until the value is dropped.
#[derive(Debug)]
struct Calls<'a> {
    here: &'a Cluster,
    watch: Child,
    _forwards: [Forward; 2],
}

impl<'a> Calls<'a> {
    fn start(here: &'a Cluster) -> Result<Self> {
        let forwards = [
            here.forward("service/command-service", "9080")?,
            here.forward("service/query-service", "9081")?,
        ];
        let mut watch = cli(here, &["watch"]);
        let watch = watch.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot watch")?;
        let calls = Self { here, watch, _forwards: forwards };
        output(&mut cli(here, &["erase", "13", "--yes"]))?;
        Ok(calls)
    }

    fn round(&self) -> Result<()> {
        for arguments in [
            ["follow", "11", "12"].as_slice(),
            &["check", "11", "12"],
            &["relationship", "11", "12"],
            &["followers", "12"],
            &["counts", "11"],
            &["suggest", "11"],
            &["unfollow", "11", "12"],
        ] {
            // `check` exits with 1 if the answer is no.
            let code = cli(self.here, arguments).stdout(Stdio::null()).status()?.code();
            ensure!(matches!(code, Some(0 | 1)), "{arguments:?} ended with {code:?}");
        }
        Ok(())
    }
}

fn cli(here: &Cluster, arguments: &[&str]) -> Command {
    let mut cli = here.cli("127.0.0.1:9080", "127.0.0.1:9081");
    cli.args(arguments);
    cli
}

impl Drop for Calls<'_> {
    fn drop(&mut self) {
        // Nothing can be reported from here.
        let _ = self.watch.kill();
        let _ = self.watch.wait();
    }
}
