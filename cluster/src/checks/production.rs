//! The overlay `production`: the API server accepts it as shipped, and scaled down to one node it becomes ready and serves
//! reads and writes, with its logins, roles, policies and three servers of each kind.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::apply::without_tokens;
use crate::{
    cluster::{Cluster, output, until},
    kubectl::Kubectl,
    manifests::{items, list, named, text},
    operators, production,
};

/// Kinds whose controllers do not run here.
const STORED: [&str; 2] = ["Cluster", "GRPCRoute"];
/// Kinds whose controller only the check `monitoring` starts.
const STORED_YET: [&str; 2] = ["PodMonitor", "PrometheusRule"];
const LIMIT: Duration = Duration::from_secs(180);

pub fn overlay(cluster: &mut Cluster) -> Result<Vec<String>> {
    let node = &cluster.node;
    rest(cluster)?;
    let definitions = operators::definitions(node)?;
    operators::policies(node)?;
    let begun = Instant::now();
    let shipped = production::shipped(node)?;
    let kubectl = Kubectl::new(node);
    // The other objects need it.
    kubectl.apply(&named(&shipped, "Namespace", production::NAMESPACE)?.to_string())?;
    // A Job cannot be changed: a rollout deletes the last one, too.
    kubectl.namespace(production::NAMESPACE).run(&["delete", "job", "migrate", "--ignore-not-found"])?;
    kubectl.run_with_input(&["apply", "--dry-run=server", "--filename", "-"], &list(&shipped))?;
    let mut seen = vec![format!(
        "the API server accepts all {} objects as shipped, with {} definitions of operators and no warning",
        shipped.len(),
        definitions.len()
    )];
    for (kinds, what) in [
        (STORED, "stored, but no controller of it runs here"),
        (STORED_YET, "stored for the check `monitoring`"),
    ] {
        let objects: Vec<_> = kinds
            .iter()
            .flat_map(|kind| shipped.iter().filter(move |object| object["kind"] == *kind))
            .map(|object| format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"])))
            .collect();
        seen.push(format!("{}: {what}", objects.join(", ")));
    }

    let scaled = production::scaled(shipped);
    production::secrets(node)?;
    let roles = production::database(node, &scaled)?;
    production::name_images(node, &scaled)?;
    production::apply(node, &scaled)?;
    seen.push(format!(
        "scaled down: {} pods are ready after {:.0} s; {roles} roles of the Cluster object log in",
        pods(cluster)?,
        begun.elapsed().as_secs_f64()
    ));
    let here = production::installed(cluster)?;
    seen.extend(without_tokens(&here)?);
    seen.push(stream(&here)?);
    seen.extend(served(&here)?);
    Ok(seen)
}

/// Gives the overlay `dev` no processor time and no memory.
fn rest(cluster: &Cluster) -> Result<()> {
    let namespace = Kubectl::new(&cluster.node).run(&[
        "get",
        "namespace",
        cluster.namespace,
        "--ignore-not-found",
        "--output=name",
    ])?;
    if namespace.is_empty() {
        return Ok(());
    }
    cluster.kubectl().run(&["scale", "deployment,statefulset", "--all", "--replicas=0"])?;
    until(LIMIT, || {
        let running = cluster.kubectl().get(&["pods", "--field-selector=status.phase=Running"])?;
        ensure!(items(&running["items"]).is_empty(), "pods of the overlay `dev` still run");
        Ok(())
    })
    .map(drop)
}

fn pods(cluster: &Cluster) -> Result<usize> {
    let kubectl = Kubectl::new(&cluster.node).namespace(production::NAMESPACE);
    let running = kubectl.get(&["pods", "--field-selector=status.phase=Running"])?;
    Ok(items(&running["items"]).len())
}

/// Three servers store the stream. Only its leader knows which copies are current.
fn stream(here: &Cluster) -> Result<String> {
    let mut found = String::new();
    until(LIMIT, || {
        for pod in ["nats-0", "nats-1", "nats-2"] {
            let path = format!(
                "/api/v1/namespaces/{}/pods/{pod}:8222/proxy/jsz?accounts=true&streams=true",
                production::NAMESPACE
            );
            let answer: Value = serde_json::from_str(&here.kubectl().run(&["get", "--raw", &path])?)?;
            let streams: Vec<&Value> = items(&answer["account_details"])
                .iter()
                .flat_map(|account| items(&account["stream_detail"]))
                .collect();
            ensure!(streams.len() == 1, "{pod} has {} streams: {answer}", streams.len());
            let cluster = &streams[0]["cluster"];
            let replicas = items(&cluster["replicas"]);
            ensure!(replicas.len() == 2, "the stream has {} more copies: {cluster}", replicas.len());
            if cluster["leader"] == pod {
                ensure!(replicas.iter().all(|replica| replica["current"] == true), "not current: {cluster}");
                found = format!(
                    "{} is on three NATS servers, all current; {pod} leads",
                    text(&streams[0]["name"])
                );
                return Ok(());
            }
        }
        bail!("no server leads the stream")
    })?;
    Ok(format!("the stream {found}"))
}

/// Calls through `kubectl port-forward`, which the policies do not restrict.
fn served(here: &Cluster) -> Result<Vec<String>> {
    let _command = here.forward("service/command-service", "9080")?;
    let _query = here.forward("service/query-service", "9081")?;
    let call = |arguments: &[&str]| output(here.cli("127.0.0.1:9080", "127.0.0.1:9081").args(arguments));
    until(LIMIT, || call(&["status"]).map(drop))?;
    call(&["follow", "1", "2"])?;
    let mut source = String::new();
    until(LIMIT, || {
        let answer: Value = serde_json::from_str(&call(&["check", "1", "2", "-o", "json"])?)?;
        ensure!(answer["following"] == true, "the follow is missing: {answer}");
        source = text(&answer["source"]).to_owned();
        ensure!(source.to_lowercase().contains("neo4j"), "a read was answered by {source}");
        Ok(())
    })?;
    Ok(vec![
        "`followgraph status` through `kubectl port-forward` is healthy, despite the policies".to_owned(),
        format!("`follow` and `check` work; {source} answered"),
    ])
}
