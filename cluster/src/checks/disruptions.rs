//! Pods that are evicted or deleted under load.

use std::{process::Stdio, time::Instant};

use anyhow::{Context, Result, ensure};

use crate::{
    cluster::Cluster,
    kubectl::Kubectl,
    load::{CALLED, Load},
    node::NAME,
};

/// Pods of each service that clients call, in the overlay `load`.
const COUNT: usize = 2;
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

/// The pods of the services. A projector's successor has the same name.
fn ids(cluster: &Cluster) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for service in CALLED.into_iter().chain(["projector"]) {
        ids.extend(cluster.pods(service)?.into_iter().map(|pod| pod.uid));
    }
    Ok(ids)
}
