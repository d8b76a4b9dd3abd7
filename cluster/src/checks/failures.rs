//! Containers that the kernel kills for their memory, and processes that hang, under load.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use devstack::process::Signal;
use nix::{sys::signal::kill, unistd::Pid};

use crate::{
    cluster::Cluster,
    load::{CALLED, Load},
    pods::Pod,
};

/// A process in the container's control group uses all of the container's memory. The kernel then kills the container's
/// own process first: Kubernetes gives those of pods the highest scores.
pub fn out_of_memory(cluster: &mut Cluster) -> Result<Vec<String>> {
    break_each(cluster, |cluster, pod| {
        let group = cluster.memory_cgroup(pod).join("cgroup.procs");
        let fill = format!("echo $$ > '{}' && exec tail /dev/zero", group.display());
        let mut process = Command::new("sh");
        process.args(["-c", &fill]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = process.status().context("cannot run sh")?;
        ensure!(!status.success(), "no process was killed");
        Ok("OOMKilled")
    })
}

/// The process stops to run but keeps its connections. The readiness probe takes it out of its Service, the liveness
/// probe has it killed.
pub fn hang(cluster: &mut Cluster) -> Result<Vec<String>> {
    break_each(cluster, |cluster, pod| {
        kill(Pid::from_raw(cluster.process(pod)?), Signal::SIGSTOP).context("cannot stop a process")?;
        Ok("Error")
    })
}

/// Breaks one pod of each service, which must then be restarted for the reason that `fault` returns.
fn break_each(
    cluster: &mut Cluster,
    fault: impl Fn(&Cluster, &Pod) -> Result<&'static str>,
) -> Result<Vec<String>> {
    cluster.overlay("load")?;
    let mut lines = Vec::new();
    for service in CALLED {
        let load = Load::start(cluster)?;
        let pods = cluster.pods(service)?;
        let victim = pods.first().with_context(|| format!("no pod of {service}"))?;
        let begun = Instant::now();
        let reason = fault(cluster, victim)?;
        let is_back = |pod: &Pod| {
            pod.name == victim.name && pod.ready && pod.restarts > victim.restarts && pod.ended == reason
        };
        cluster.wait_pods(service, 1, is_back)?;
        let ready: Duration = begun.elapsed();
        let seen = load.end_answered(cluster)?;
        lines.push(format!(
            "{service}: {reason}, ready again after {:.0} s, the last call was interrupted after {:.1} s; {}",
            ready.as_secs_f64(),
            seen.recovered_after(begun),
            seen.line()
        ));
    }
    Ok(lines)
}
