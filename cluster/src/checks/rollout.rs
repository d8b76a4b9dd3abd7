//! A rolling update to the next version and `kubectl rollout undo`, under load: no call is interrupted, and no
//! acknowledged write is lost.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use devstack::{
    fetch::run,
    services::{self, Profile},
};

use crate::{cluster::Cluster, images::Images, load::Load};

/// The tag of the next version, which adds a field to every event (feature `next-version`).
const NEXT: &str = "0.2.0";
/// Readers before writers, and back in the opposite order: docs/kubernetes.md.
const ORDER: [&[(&str, &str)]; 2] =
    [&[("deployment", "query-service"), ("statefulset", "projector")], &[("deployment", "command-service")]];

pub fn update_and_undo(cluster: &mut Cluster) -> Result<Vec<String>> {
    let next = services::build_next_version(|mut build| run(&mut build))?;
    // That build has written to the folder of the usual programs.
    run(&mut Profile::Dev.build_command())?;
    Images::of(&cluster.node).ours(&next, NEXT)?;
    cluster.overlay("load")?;

    let load = Load::start(cluster)?;
    let updated = roll(cluster, ORDER, |name| {
        vec!["set".into(), "image".into(), format!("{name}=followgraph/{name}:{NEXT}")]
    })?;
    require_version(cluster, NEXT)?;
    load.wait_served()?;
    let [readers, writers] = ORDER;
    let undone = roll(cluster, [writers, readers], |_| vec!["rollout".into(), "undo".into()])?;
    require_version(cluster, super::images::VERSION)?;
    load.wait_served()?;
    let seen = load.end_unbroken(cluster)?;
    Ok(vec![
        format!(
            "update of three services after {:.0} s, undone after {:.0} s",
            updated.as_secs_f64(),
            undone.as_secs_f64()
        ),
        seen.line(),
    ])
}

/// Changes groups of workloads one after the other. Returns how long it took.
fn roll(
    cluster: &Cluster,
    groups: [&[(&str, &str)]; 2],
    change: impl Fn(&str) -> Vec<String>,
) -> Result<Duration> {
    let begun = Instant::now();
    for group in groups {
        for (kind, name) in group {
            let workload = format!("{kind}/{name}");
            let mut arguments = change(name);
            // After the verb of two words.
            arguments.insert(2, workload);
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            cluster.kubectl().run(&arguments)?;
        }
        for (kind, name) in group {
            cluster.wait_rollout(&format!("{kind}/{name}"))?;
        }
    }
    Ok(begun.elapsed())
}

fn require_version(cluster: &Cluster, version: &str) -> Result<()> {
    for (_, name) in ORDER.into_iter().flatten() {
        let pods = cluster.pods(name)?;
        let tag = format!(":{version}");
        ensure!(
            !pods.is_empty() && pods.iter().all(|pod| pod.ready && pod.image.ends_with(&tag)),
            "not all pods run {version}: {pods:?}"
        );
    }
    Ok(())
}
