//! The autoscaler of query-service: it has both of its metrics, adds pods under load and removes them after it.
//!
//! The windows of the shipped autoscaler are minutes; here they are seconds. The number of reads per pod and the maximum of
//! pods are smaller, for two processors. Everything else is as shipped.

use std::{
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, output, until},
    kubectl::Kubectl,
    manifests::{items, named, text},
    operators, production,
};

const NAME: &str = "hpa/query-service";
/// Clients, each with one call at a time.
const CLIENTS: usize = 4;
/// The autoscaler looks every 15 s, at CPU time of the last 15 s and at reads of the last two minutes.
const LIMIT: Duration = Duration::from_secs(400);

pub fn query_service(cluster: &mut Cluster) -> Result<Vec<String>> {
    let node = &cluster.node;
    operators::metrics_server(node)?;
    operators::prometheus(node)?;
    operators::adapter(node)?;
    let here = production::installed(cluster)?;
    let kubectl = here.kubectl();
    shorten(&kubectl)?;
    let least = until_replicas(&kubectl, |now, least| now == least)?.0;
    let mut seen = Vec::new();
    until(LIMIT, || both_metrics(&kubectl).map(drop))?;
    seen.push(format!("without load: {least} pods; {}", both_metrics(&kubectl)?));
    let (more, took, during, calls) = under_load(&here)?;
    seen.push(format!(
        "under the load of {CLIENTS} clients: {more} pods after {:.0} s; {during}; {calls} lists, none failed",
        took.as_secs_f64()
    ));
    let begun = Instant::now();
    until_replicas(&kubectl, |now, least| now == least)?;
    seen.push(format!("{least} pods again {:.0} s after the load", begun.elapsed().as_secs_f64()));
    // As shipped again.
    let shipped = production::shipped(node)?;
    kubectl.apply(&named(&shipped, "HorizontalPodAutoscaler", "query-service")?.to_string())?;
    Ok(seen)
}

/// Windows and sizes for minutes instead of an hour.
fn shorten(kubectl: &Kubectl<'_>) -> Result<()> {
    let mut metrics = kubectl.get(&[NAME])?["spec"]["metrics"].take();
    for metric in metrics.as_array_mut().into_iter().flatten() {
        if metric["type"] == "Pods" {
            metric["pods"]["target"]["averageValue"] = json!("20");
        }
    }
    let patch = json!({"spec": {
        "maxReplicas": 5,
        "metrics": metrics,
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": 0},
            "scaleDown": {
                "stabilizationWindowSeconds": 15,
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}],
            },
        },
    }});
    kubectl.run(&["patch", NAME, "--type=merge", "--patch", &patch.to_string()])?;
    Ok(())
}

/// CPU time and reads per second, as the autoscaler sees them.
fn both_metrics(kubectl: &Kubectl<'_>) -> Result<String> {
    let autoscaler = kubectl.get(&[NAME])?;
    let current = &autoscaler["status"]["currentMetrics"];
    let metric = |kind: &str| items(current).iter().find(|metric| metric["type"] == kind);
    let cpu = metric("Resource").map(|metric| &metric["resource"]["current"]["averageUtilization"]);
    let reads = metric("Pods").map(|metric| &metric["pods"]["current"]["averageValue"]);
    let conditions = &autoscaler["status"]["conditions"];
    let cpu = cpu.and_then(Value::as_u64).with_context(|| format!("no CPU time: {conditions}"))?;
    let reads = reads.map(text).filter(|text| !text.is_empty());
    let reads = reads.with_context(|| format!("no reads per second: {conditions}"))?;
    Ok(format!("CPU {cpu} % of the request, {reads} reads per second and pod"))
}

/// Waits for a number of pods; `wanted` gets it and the least number. Returns it and how long it took.
fn until_replicas(kubectl: &Kubectl<'_>, wanted: impl Fn(u64, u64) -> bool) -> Result<(u64, Duration)> {
    let mut now = 0;
    let took = until(LIMIT, || {
        let autoscaler = kubectl.get(&[NAME])?;
        let deployment = kubectl.get(&["deployment/query-service"])?;
        let least = autoscaler["spec"]["minReplicas"].as_u64().context("no minimum")?;
        now = deployment["status"]["readyReplicas"].as_u64().unwrap_or_default();
        let set = deployment["spec"]["replicas"].as_u64().unwrap_or_default();
        ensure!(
            now == set && wanted(now, least),
            "{now} of {set} pods; at least {least}: {}",
            autoscaler["status"]
        );
        Ok(())
    })?;
    Ok((now, took))
}

/// Lists a follower list in pages until there are more pods.
fn under_load(here: &Cluster) -> Result<(u64, Duration, String, usize)> {
    let kubectl = here.kubectl();
    let address = |service: &str, port: u16| -> Result<String> {
        let service = kubectl.get(&["service", service])?;
        Ok(format!("{}:{port}", text(&service["spec"]["clusterIP"])))
    };
    let (command, query) = (address("command-service", 9080)?, address("query-service", 9081)?);
    let file = here.node.place.folder("autoscale")?.join("edges.tsv");
    let rows: String = (100..3100).map(|id| format!("{id}\t99\n")).collect();
    std::fs::write(&file, format!("follower_id\tfollowee_id\n{rows}"))?;
    output(here.cli(&command, &query).arg("import").arg(&file))?;
    let (leave, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let client = || -> Result<()> {
            while !leave.load(Ordering::Relaxed) {
                // Each call is a new connection, which kube-proxy gives to any pod.
                let mut list = here.cli(&command, &query);
                output(list.args(["followers", "99", "--all", "-o", "json"]).stderr(Stdio::null()))?;
                calls.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let grown = until_replicas(&kubectl, |now, least| now > least);
        let during = both_metrics(&kubectl);
        leave.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap_or_else(|_| anyhow::bail!("a client panicked"))?;
        }
        let (more, took) = grown?;
        Ok((more, took, during?, calls.load(Ordering::Relaxed)))
    })
}
