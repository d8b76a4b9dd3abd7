//! More pods and fewer, under load, and a second read replica. The overlay `settings` lets clients find new pods in ten
//! seconds; applying it is a change of the ConfigMap under load.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use proto::query::v1::query_service_client::QueryServiceClient;
use tests::{
    clients::{Bearer, channel},
    explained::wait_answering,
    metrics::scrape,
};

use crate::{
    cluster::{Cluster, until},
    load::{Load, runtime},
    pods::Pod,
};

/// `MAX_CONNECTION_AGE_SECONDS` of the overlay.
const CONNECTION_AGE: Duration = Duration::from_secs(10);
/// A connection may be older by its jitter of a tenth; then some calls must arrive.
const SLACK: Duration = Duration::from_secs(3);
/// Number of reads that show that a pod gets traffic.
const SOME: f64 = 20.0;
const MANY: usize = 4;

/// A changed ConfigMap; then from one query-service to four and back.
pub fn query_service(cluster: &mut Cluster) -> Result<Vec<String>> {
    cluster.overlay("load")?;
    let load = Load::start(cluster)?;
    let changed = cluster.overlay("settings")?;
    load.wait_served()?;
    let seen = load.end_unbroken(cluster)?;
    let mut lines = vec![format!(
        "ConfigMaps of both services changed: rolled out after {:.0} s; {}",
        changed.as_secs_f64(),
        seen.line()
    )];

    scale(cluster, 1)?;
    let (before, _) = cluster.wait_pods("query-service", 1, |pod| pod.ready)?;
    let load = Load::start(cluster)?;
    let begun = Instant::now();
    scale(cluster, MANY)?;
    let (pods, ready) = cluster.wait_pods("query-service", MANY, |pod| pod.ready)?;
    until(CONNECTION_AGE + SLACK, || {
        for pod in pods.iter().filter(|pod| pod.uid != before[0].uid) {
            let reads = reads(cluster, pod)?;
            ensure!(reads >= SOME, "{} had {reads} reads", pod.name);
        }
        Ok(())
    })?;
    let spread = begun.elapsed();
    scale(cluster, 1)?;
    until(Duration::from_secs(120), || {
        let left = cluster.all_pods("query-service")?;
        ensure!(left.len() == 1, "{} pods are left", left.len());
        Ok(())
    })?;
    load.wait_served()?;
    let seen = load.end_unbroken(cluster)?;
    lines.push(format!(
        "1 to {MANY} pods: all ready after {:.0} s, all have reads after {:.0} s; and back to 1: {}",
        ready.as_secs_f64(),
        spread.as_secs_f64(),
        seen.line()
    ));
    scale(cluster, 2)?;
    cluster.wait_rollout("deployment/query-service")?;
    Ok(lines)
}

/// A second Neo4j with its projector builds itself and answers reads, while the first one serves.
pub fn read_replica(cluster: &mut Cluster) -> Result<Vec<String>> {
    cluster.overlay("settings")?;
    let load = Load::start(cluster)?;
    let begun = Instant::now();
    let rolled_out = cluster.overlay("replica")?;
    let query = cluster.address("query-service")?;
    cluster.node.in_network(|| {
        runtime()?.block_on(async {
            for replica in ["projector-0", "projector-1"] {
                // A new connection each time: any pod may answer.
                let bearer = Bearer::new(cluster.token);
                let queries = QueryServiceClient::with_interceptor(channel(&query), bearer);
                wait_answering(&queries, replica).await;
            }
            anyhow::Ok(())
        })
    })?;
    let answering = begun.elapsed();
    let seen = load.end_unbroken(cluster)?;
    Ok(vec![
        format!(
            "all pods are ready after {:.0} s, both replicas answer after {:.0} s",
            rolled_out.as_secs_f64(),
            answering.as_secs_f64()
        ),
        seen.line(),
    ])
}

fn scale(cluster: &Cluster, count: usize) -> Result<()> {
    let count = format!("--replicas={count}");
    cluster.kubectl().run(&["scale", "deployment/query-service", &count]).map(drop)
}

/// The number of reads that a pod has answered; probes do not count.
fn reads(cluster: &Cluster, pod: &Pod) -> Result<f64> {
    let admin: SocketAddr = format!("{}:9181", pod.address).parse().context("a pod without an address")?;
    let samples = cluster.node.in_network(|| Ok(scrape(admin)))?;
    let is_read = |service: &String| service.contains("QueryService");
    Ok(samples
        .iter()
        .filter(|sample| sample.metric == "grpc_server_handled_total")
        .filter(|sample| sample.labels.get("grpc_service").is_some_and(is_read))
        .map(|sample| sample.value)
        .sum())
}
