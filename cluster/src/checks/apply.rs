//! The overlay `dev` as shipped: it is applied without a warning, everything becomes ready, and `followgraph status` is
//! healthy.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use devstack::workspace;

use crate::{
    cluster::{Cluster, output, until},
    kubectl::Kubectl,
};

pub fn dev_overlay(cluster: &mut Cluster) -> Result<Vec<String>> {
    let begun = Instant::now();
    let overlay = workspace::root().join("k8s/overlays/dev");
    // A warning of the API server is an error.
    Kubectl::new(&cluster.node).run(&["apply", "-k", path(&overlay)?])?;
    let kubectl = cluster.kubectl();
    kubectl.run(&["wait", "--for=condition=complete", "job/migrate", "--timeout=300s"])?;
    let migrated = begun.elapsed();
    cluster.wait_ready()?;
    let ready = begun.elapsed();
    let mut seen = vec![format!(
        "the migrate Job is complete after {:.0} s, all pods are ready after {:.0} s",
        migrated.as_secs_f64(),
        ready.as_secs_f64()
    )];
    seen.extend(restarts(cluster)?);
    seen.extend(unprivileged(cluster)?);
    seen.extend(without_tokens(cluster)?);
    let _command = cluster.forward("service/command-service", "9080")?;
    let _query = cluster.forward("service/query-service", "9081")?;
    until(Duration::from_secs(60), || {
        output(cluster.cli("127.0.0.1:9080", "127.0.0.1:9081").arg("status")).map(drop)
    })?;
    seen.push("`followgraph status` through `kubectl port-forward` is healthy".to_owned());
    Ok(seen)
}

/// Containers that were started more than once.
fn restarts(cluster: &Cluster) -> Result<Vec<String>> {
    let pods = cluster.kubectl().get(&["pods"])?;
    let mut seen = Vec::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        for container in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
            if container["restartCount"].as_u64() > Some(0) {
                seen.push(format!(
                    "{} was restarted {} times",
                    pod["metadata"]["name"], container["restartCount"]
                ));
            }
        }
    }
    Ok(seen)
}

/// No pod of followgraph has a token for the API server.
pub fn without_tokens(cluster: &Cluster) -> Result<Vec<String>> {
    let pods = cluster.kubectl().get(&["pods"])?;
    let pods = pods["items"].as_array().context("no pods")?;
    for pod in pods {
        let volumes = pod["spec"]["volumes"].to_string();
        if volumes.contains("serviceAccountToken") {
            bail!("{} has a token", pod["metadata"]["name"]);
        }
    }
    Ok(vec![format!("none of {} pods has a token of its service account", pods.len())])
}

/// What the kernel says about the processes of the three services.
fn unprivileged(cluster: &Cluster) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    for program in ["command-service", "query-service", "projector"] {
        let process =
            output(cluster.node.inside("pgrep").args(["--newest", "--full", &format!("^{program}")]))?;
        let status = output(cluster.node.inside("cat").arg(format!("/proc/{process}/status")))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|rest| rest.split_whitespace().next().unwrap_or_default().to_owned())
                .context("no such field")
        };
        let (user, capabilities) = (field("Uid")?, field("CapEff")?);
        let (no_new, filter) = (field("NoNewPrivs")?, field("Seccomp")?);
        if user != "65532" || capabilities != "0000000000000000" || no_new != "1" || filter != "2" {
            bail!(
                "{program} runs as {user}, capabilities {capabilities}, NoNewPrivs {no_new}, Seccomp {filter}"
            );
        }
        let root = output(cluster.node.inside("cat").arg(format!("/proc/{process}/mountinfo")))?;
        let read_only = root.lines().any(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            fields.get(4) == Some(&"/") && fields.get(5).is_some_and(|options| options.starts_with("ro"))
        });
        if !read_only {
            bail!("{program} can write to its root file system");
        }
        seen.push(format!(
            "{program}: user 65532, no capabilities, no new privileges, seccomp, read-only root"
        ));
    }
    Ok(seen)
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the path of this clone is not UTF-8")
}
