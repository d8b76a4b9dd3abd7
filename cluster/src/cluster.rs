//! followgraph on a node, as the checks use it.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use devstack::workspace;

use crate::{images::Images, kubectl::Kubectl, node::Node};

/// Workloads of the overlay `dev`.
const WORKLOADS: [&str; 6] = [
    "statefulset/postgres",
    "statefulset/nats",
    "statefulset/neo4j",
    "deployment/command-service",
    "statefulset/projector",
    "deployment/query-service",
];
/// Time for a workload to become ready: Neo4j is ready 90 s after its start.
const READY: &str = "--timeout=420s";

/// An installation of followgraph.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub node: Node,
    pub namespace: &'static str,
    /// The token of its clients.
    pub token: &'static str,
    /// Where the programs are that the images were made of.
    pub binaries: PathBuf,
}

impl Cluster {
    /// The overlay `dev`.
    pub fn dev(node: &Node) -> Self {
        Self {
            node: node.clone(),
            namespace: "followgraph-dev",
            token: "followgraph",
            binaries: Images::usual_binaries(),
        }
    }

    /// kubectl in its namespace.
    pub fn kubectl(&self) -> Kubectl<'_> {
        Kubectl::new(&self.node).namespace(self.namespace)
    }

    /// Applies an overlay of `cluster/overlays` and waits until all of it is rolled out. Returns how long it took.
    pub fn overlay(&self, name: &str) -> Result<Duration> {
        let begun = Instant::now();
        let folder = workspace::root().join("cluster/overlays").join(name);
        let folder = folder.to_str().context("the path of this clone is not UTF-8")?;
        // They use a file of the overlay `production`.
        let render = ["kustomize", "--load-restrictor=LoadRestrictionsNone", folder];
        let kubectl = Kubectl::new(&self.node);
        kubectl.apply(&kubectl.run(&render)?)?;
        self.kubectl().run(&["wait", "--for=condition=complete", "job/migrate", "--timeout=300s"])?;
        self.wait_ready()?;
        Ok(begun.elapsed())
    }

    /// Waits until all pods are ready.
    pub fn wait_ready(&self) -> Result<()> {
        WORKLOADS.into_iter().try_for_each(|workload| self.wait_rollout(workload))
    }

    /// Waits until a workload is rolled out.
    pub fn wait_rollout(&self, workload: &str) -> Result<()> {
        self.kubectl().run(&["rollout", "status", workload, READY]).map(drop)
    }

    /// The address of a Service with one port, for clients outside of the pods.
    pub fn address(&self, service: &str) -> Result<String> {
        let service = self.kubectl().get(&["service", service])?;
        let address = service["spec"]["clusterIP"].as_str().context("a Service without an address")?;
        Ok(format!("{address}:{}", service["spec"]["ports"][0]["port"]))
    }

    /// `followgraph` outside of the cluster, with these addresses.
    pub fn cli(&self, command: &str, query: &str) -> Command {
        let mut cli = self.node.outside(self.binaries.join("followgraph"));
        cli.env("FOLLOWGRAPH_COMMAND_ADDR", command)
            .env("FOLLOWGRAPH_QUERY_ADDR", query)
            .env("FOLLOWGRAPH_TOKEN", self.token)
            .stdin(Stdio::null());
        cli
    }

    /// Forwards ports as docs/kubernetes.md says, until the value is dropped.
    pub fn forward(&self, target: &str, ports: &str) -> Result<Forward> {
        let mut command = self.kubectl().command();
        command.args(["port-forward", target, ports]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run kubectl port-forward")?;
        // It prints a line when it listens.
        let mut first = [0];
        let output = child.stdout.as_mut().context("kubectl has no output")?;
        if std::io::Read::read(output, &mut first)? == 0 {
            bail!("kubectl port-forward {target} {ports} ended");
        }
        Ok(Forward(child))
    }
}

/// A running `kubectl port-forward`.
#[derive(Debug)]
pub struct Forward(Child);

impl Drop for Forward {
    fn drop(&mut self) {
        // Nothing can be reported from here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The standard output of a program that must succeed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({})\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Waits until `attempt` succeeds; its last error after `limit`. Returns how long it took.
pub fn until(limit: Duration, mut attempt: impl FnMut() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return Ok(begun.elapsed()),
            Err(error) if begun.elapsed() > limit => {
                return Err(error.context(format!("not within {} s", limit.as_secs())));
            }
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}
