//! The pods of a workload, as the API server sees them.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    cluster::{Cluster, until},
    manifests,
};

/// Time for pods to become ready: longer than the 40 s in which a pod may end.
const LIMIT: Duration = Duration::from_secs(300);

/// A pod with one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    pub address: String,
    pub image: String,
    /// Ready, and not being deleted.
    pub ready: bool,
    /// Being deleted.
    pub ends: bool,
    pub restarts: u64,
    /// Why its previous container ended.
    pub ended: String,
    container: String,
}

impl Pod {
    fn of(pod: &Value) -> Self {
        let text = |value: &Value| manifests::text(value).to_owned();
        let status = &pod["status"];
        let container = &status["containerStatuses"][0];
        let ends = !pod["metadata"]["deletionTimestamp"].is_null();
        let conditions = status["conditions"].as_array();
        let ready = conditions
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
        Self {
            name: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            address: text(&status["podIP"]),
            image: text(&pod["spec"]["containers"][0]["image"]),
            ready: ready && !ends,
            ends,
            restarts: container["restartCount"].as_u64().unwrap_or_default(),
            ended: text(&container["lastState"]["terminated"]["reason"]),
            container: text(&container["containerID"]).trim_start_matches("containerd://").to_owned(),
        }
    }
}

impl Cluster {
    /// The pods of a workload that are not being deleted.
    pub fn pods(&self, workload: &str) -> Result<Vec<Pod>> {
        Ok(self.all_pods(workload)?.into_iter().filter(|pod| !pod.ends).collect())
    }

    /// The pods of a workload.
    pub fn all_pods(&self, workload: &str) -> Result<Vec<Pod>> {
        let pods =
            self.kubectl().get(&["pods", "--selector", &format!("app.kubernetes.io/name={workload}")])?;
        Ok(pods["items"].as_array().into_iter().flatten().map(Pod::of).collect())
    }

    /// Waits until a workload has `count` pods that meet `wanted`. Returns them, and how long it took.
    pub fn wait_pods(
        &self,
        workload: &str,
        count: usize,
        wanted: impl Fn(&Pod) -> bool,
    ) -> Result<(Vec<Pod>, Duration)> {
        let mut found = Vec::new();
        let took = until(LIMIT, || {
            let pods = self.pods(workload)?;
            found = pods.iter().filter(|pod| wanted(pod)).cloned().collect();
            if found.len() != count {
                bail!("{} of {count} pods of {workload}: {pods:?}", found.len());
            }
            Ok(())
        })?;
        Ok((found, took))
    }

    /// The control group of a pod's container.
    pub fn memory_cgroup(&self, pod: &Pod) -> PathBuf {
        self.node.memory_cgroup(&pod.uid, &pod.container)
    }

    /// The process of a pod's container, by its id on this machine.
    pub fn process(&self, pod: &Pod) -> Result<i32> {
        let file = self.memory_cgroup(pod).join("cgroup.procs");
        let processes =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let first = processes.lines().next().with_context(|| format!("{} has no process", pod.name))?;
        first.parse().context("an odd process id")
    }
}
