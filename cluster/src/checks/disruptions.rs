//! Pods that are evicted or deleted under load.

use std::{process::Stdio, time::Instant};

use anyhow::{Context, Result, ensure};

use crate::{
    cluster::Cluster,
    kubectl::Kubectl,
    load::{CALLED, Load},
    node::NAME,
    pods::Pod,
};

/// Pods of each service that clients call, in the overlay `load`.
const COUNT: usize = 2;
const FORCED: &str = " without grace";
/// All pods that a drain may move: volumes of the stores are on this node.
const MOVABLE: &str = "app.kubernetes.io/name in (command-service, query-service, projector)";

/// `kubectl drain` of a node, while another one gets ready. This is the only node, so the drain waits, by the disruption
/// budgets, until the node accepts pods again.
pub fn drain(cluster: &mut Cluster) -> Result<Vec<String>> {
    cluster.overlay("load")?;
    let load = Load::start(cluster)?;
    let before = ids(cluster)?;
    let begun = Instant::now();
    let kubectl = Kubectl::new(&cluster.node);
    let mut drain = kubectl
        .command()
        .args(["drain", NAME, "--pod-selector", MOVABLE, "--delete-emptydir-data", "--timeout=300s"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run kubectl drain")?;
    // One pod of each service has been evicted, and no node takes its successor.
    for service in CALLED {
        cluster.wait_pods(service, 1, |pod| !pod.ready && !before.contains(&pod.uid))?;
    }
    load.wait_served()?;
    for service in CALLED {
        let pods = cluster.pods(service)?;
        let serving = pods.iter().filter(|pod| pod.ready).count();
        ensure!(serving == 1, "the disruption budget leaves {serving} pods of {service}: {pods:?}");
    }
    ensure!(drain.try_wait()?.is_none(), "the drain has ended too early");
    kubectl.run(&["uncordon", NAME])?;
    let status = drain.wait()?;
    ensure!(status.success(), "kubectl drain failed ({status})");
    let drained = begun.elapsed();
    for service in CALLED {
        cluster.wait_pods(service, COUNT, |pod| pod.ready && !before.contains(&pod.uid))?;
    }
    cluster.wait_pods("projector", 1, |pod| pod.ready && !before.contains(&pod.uid))?;
    let seen = load.end_unbroken(cluster)?;
    Ok(vec![
        format!(
            "all pods of the services moved: drained after {:.0} s, all ready after {:.0} s",
            drained.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        ),
        "while no node took new pods, the budgets kept one pod of each service".to_owned(),
        seen.line(),
    ])
}

/// One pod at a time is deleted, first with its grace period.
pub fn deletions(cluster: &mut Cluster) -> Result<Vec<String>> {
    cluster.overlay("load")?;
    let mut lines = Vec::new();
    for workload in ["query-service", "command-service", "projector", "neo4j", "nats"] {
        let load = Load::start(cluster)?;
        let ready = delete(cluster, workload, &[])?;
        let seen = load.end_unbroken(cluster)?;
        lines.push(format!(
            "{workload} deleted: gone, and its successor is ready, after {ready:.0} s; {}",
            seen.line()
        ));
    }
    // `dev` has only one PostgreSQL. A killed process does not answer the calls that it has received.
    let at_once: &[&str] = &["--grace-period=0", "--force"];
    let breaking = [("postgres", &[][..], ""), (CALLED[0], at_once, FORCED), (CALLED[1], at_once, FORCED)];
    for (workload, options, how) in breaking {
        let load = Load::start(cluster)?;
        let begun = Instant::now();
        let ready = delete(cluster, workload, options)?;
        let seen = load.end_answered(cluster)?;
        lines.push(format!(
            "{workload} deleted{how}: its successor is ready after {ready:.0} s, the last call was interrupted after \
             {:.1} s; {}",
            seen.recovered_after(begun),
            seen.line()
        ));
    }
    Ok(lines)
}

/// Deletes one pod of a workload, and waits until it has ended and its successor is ready. Returns the seconds until
/// both.
fn delete(cluster: &Cluster, workload: &str, options: &[&str]) -> Result<f64> {
    let pods = cluster.pods(workload)?;
    let victim = pods.first().with_context(|| format!("no pod of {workload}"))?;
    let begun = Instant::now();
    // Not `run`: kubectl warns about `--force`.
    let status = cluster
        .kubectl()
        .command()
        .args(["delete", "pod", &victim.name])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot run kubectl")?;
    ensure!(status.success(), "kubectl delete pod {} failed ({status})", victim.name);
    let is_new = |pod: &Pod| pods.iter().all(|old| old.uid != pod.uid);
    cluster.wait_pods(workload, 1, |pod| pod.ready && is_new(pod))?;
    Ok(begun.elapsed().as_secs_f64())
}

/// The pods of the services. A projector's successor has the same name.
fn ids(cluster: &Cluster) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for service in CALLED.into_iter().chain(["projector"]) {
        ids.extend(cluster.pods(service)?.into_iter().map(|pod| pod.uid));
    }
    Ok(ids)
}
