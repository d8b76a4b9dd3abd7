//! Network policies and DNS: every kind of pod connects to every port of the others, from its own network namespace. What
//! the policies allow works, everything else is refused.

mod probe;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::read_to_string,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use devstack::workspace;
use serde_json::{Value, json};

pub use probe::{listen, probe};

use super::apply::without_tokens;
use crate::{
    cluster::{Cluster, output, until},
    kubectl::Kubectl,
    manifests::{documents, items, list, text},
    node::{ADDRESS, API_PORT, DNS, Node, PAUSE},
    operators, production,
};

/// Ports, by the pods that they belong to.
const PORTS: [(&str, &[u16]); 6] = [
    ("command-service", &[9080, 9180]),
    ("query-service", &[9081, 9181]),
    ("projector", &[9182]),
    ("neo4j", &[7687]),
    ("nats", &[4222, 6222, 8222]),
    ("database", &[5432, 8000, 9187]),
];
/// Ports that the operator's PostgreSQL listens on and the stand-in does not.
const LISTENED: [u16; 2] = [8000, 9187];

/// A pod that exists only for this check: its name, namespace and labels.
type Visitor = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
const VISITORS: [Visitor; 10] = [
    ("migrate", "followgraph", &[("app.kubernetes.io/name", "migrate")]),
    ("second-database", "followgraph", &[("cnpg.io/cluster", "database")]),
    ("stranger-inside", "followgraph", &[]),
    ("gateway", "gateway", &[]),
    ("prometheus", "monitoring", &[]),
    ("operator", "cnpg-system", &[]),
    ("client", "shop", &[("followgraph/client", "true")]),
    ("subscriber", "shop", &[("followgraph/subscriber", "true")]),
    ("other", "shop", &[]),
    // Labels count only in their namespace.
    ("impostor", "default", &[("followgraph/client", "true"), ("app.kubernetes.io/name", "query-service")]),
];

/// What each source may connect to. Names and ports; `dns` and `kubernetes` are the Services of the cluster.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("command-service", &["database:5432", "nats:4222"]),
    ("query-service", &["database:5432", "nats:4222", "neo4j:7687"]),
    ("projector", &["database:5432", "nats:4222", "neo4j:7687"]),
    ("neo4j", &[]),
    ("nats", &["nats:6222"]),
    ("migrate", &["database:5432"]),
    ("second-database", &["database:5432", "database:8000", "kubernetes"]),
    ("stranger-inside", &[]),
    ("gateway", &["command-service:9080", "query-service:9081", "kubernetes"]),
    (
        "prometheus",
        &[
            "command-service:9180",
            "query-service:9181",
            "projector:9182",
            "nats:8222",
            "database:9187",
            "kubernetes",
        ],
    ),
    ("operator", &["database:5432", "database:8000", "kubernetes"]),
    ("client", &["command-service:9080", "query-service:9081", "kubernetes"]),
    ("subscriber", &["nats:4222", "kubernetes"]),
    ("other", &["kubernetes"]),
    ("impostor", &["kubernetes"]),
];
/// Policies of new pods are in force after a moment.
const LIMIT: Duration = Duration::from_secs(60);

pub fn policies(cluster: &mut Cluster) -> Result<Vec<String>> {
    operators::policies(&cluster.node)?;
    let here = production::installed(cluster)?;
    let node = &here.node;
    let kubectl = Kubectl::new(node);
    let examples = read_to_string(workspace::root().join("k8s/examples/clients.yaml"))?;
    kubectl.apply(&list(&[namespaces(), documents(&examples)?, visitors()].concat()))?;
    for (name, namespace, _) in VISITORS {
        let kubectl = kubectl.namespace(namespace);
        kubectl.run(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=120s"])?;
    }
    let pods = Pods::read(node)?;
    let targets = pods.targets()?;
    let _listening = probe::Listening::start(node, pods.process("database", true)?, &LISTENED)?;

    // The kubelet and its node may connect to everything. So what is refused below does not just lack a listener.
    let all: BTreeSet<&str> = targets.keys().map(String::as_str).collect();
    until(LIMIT, || {
        let open = probe::open(node, None, &targets)?;
        ensure!(open == all, "the node itself cannot connect to {:?}", all.difference(&open));
        Ok(())
    })?;
    let mut seen = Vec::new();
    let mut allowed_pairs = 0;
    for (source, allowed) in ALLOWED {
        // Every pod may ask for names.
        let expected: BTreeSet<&str> = allowed.iter().copied().chain(["dns"]).collect();
        let process = pods.process(source, false)?;
        until(LIMIT, || {
            let open = probe::open(node, Some(process), &targets)?;
            ensure!(
                open == expected,
                "{source} connects to {:?}, which is forbidden, and not to {:?}, which is allowed",
                open.difference(&expected).collect::<Vec<_>>(),
                expected.difference(&open).collect::<Vec<_>>()
            );
            Ok(())
        })?;
        allowed_pairs += expected.len();
        seen.push(format!("{source}: {}; nothing else", expected.into_iter().collect::<Vec<_>>().join(", ")));
    }
    let pairs = ALLOWED.len() * targets.len();
    seen.insert(
        0,
        format!("{pairs} pairs: {allowed_pairs} connect, {} are refused, as expected", pairs - allowed_pairs),
    );
    seen.push(names(node, &pods)?);
    seen.extend(without_tokens(&here)?);
    kubectl.run_with_input(&["delete", "--wait=false", "--filename", "-"], &list(&visitors()))?;
    Ok(seen)
}

fn namespaces() -> Vec<Value> {
    ["gateway", "monitoring", "cnpg-system", "shop"]
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .into()
}

fn visitors() -> Vec<Value> {
    VISITORS
        .map(|(name, namespace, labels)| {
            let labels: BTreeMap<_, _> = labels.iter().copied().collect();
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 0,
                    "securityContext":
                        {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "sleep",
                        "image": PAUSE,
                        "imagePullPolicy": "Never",
                        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    }],
                },
            })
        })
        .into()
}

/// Names of Services are resolved by the cluster's DNS from a pod that may do nothing else.
fn names(node: &Node, pods: &Pods) -> Result<String> {
    let process = pods.process("stranger-inside", false)?.to_string();
    // As the kubelet writes it into pods.
    let name = format!("database-rw.{}.svc.cluster.local", production::NAMESPACE);
    let found =
        output(
            node.inside("nsenter")
                .args(["--target", &process, "--net"])
                .arg(std::env::current_exe()?)
                .args(["probe", "--name", &name, &format!("{DNS}:53")]),
        )?;
    ensure!(found.starts_with("10.96."), "{name} is {found:?}");
    Ok(format!("{name} is {found} for a pod that may only ask for names"))
}

/// The pods of the installation and the visitors.
#[derive(Debug)]
struct Pods {
    /// By workload or name: address and process.
    all: BTreeMap<String, Vec<(String, u32)>>,
}

impl Pods {
    fn read(node: &Node) -> Result<Self> {
        let processes = tasks(node)?;
        let mut all = BTreeMap::<_, Vec<_>>::new();
        let pods = Kubectl::new(node).get(&["pods", "--all-namespaces"])?;
        for pod in items(&pods["items"]) {
            let metadata = &pod["metadata"];
            let (name, namespace) = (text(&metadata["name"]), text(&metadata["namespace"]));
            let is_visitor = VISITORS.iter().any(|visitor| (visitor.0, visitor.1) == (name, namespace));
            let workload = text(&metadata["labels"]["app.kubernetes.io/name"]);
            let key = match (is_visitor, namespace == production::NAMESPACE) {
                (true, _) => name,
                (false, true) if workload.is_empty() => text(&metadata["labels"]["cnpg.io/cluster"]),
                (false, true) => workload,
                (false, false) => continue,
            };
            let status = &pod["status"];
            let container = text(&status["containerStatuses"][0]["containerID"]);
            let Some(process) = processes.get(container.trim_start_matches("containerd://")) else {
                continue;
            };
            all.entry(key.to_owned()).or_default().push((text(&status["podIP"]).to_owned(), *process));
        }
        Ok(Self { all })
    }

    /// A process of a pod: of the first one of its kind, or the last.
    fn process(&self, name: &str, last: bool) -> Result<u32> {
        self.pod(name, last).map(|(_, process)| *process)
    }

    fn pod(&self, name: &str, last: bool) -> Result<&(String, u32)> {
        let pods = self.all.get(name).with_context(|| format!("there is no pod of {name}"))?;
        if last { pods.last() } else { pods.first() }.context("no pod")
    }

    /// Addresses by name and port: of the last pod of each kind, because the first one is a source.
    fn targets(&self) -> Result<BTreeMap<String, String>> {
        let mut targets = BTreeMap::from([
            ("dns".to_owned(), format!("{DNS}:53")),
            ("kubernetes".to_owned(), format!("{ADDRESS}:{API_PORT}")),
        ]);
        for (name, ports) in PORTS {
            let (address, _) = self.pod(name, true)?;
            targets.extend(ports.iter().map(|port| (format!("{name}:{port}"), format!("{address}:{port}"))));
        }
        Ok(targets)
    }
}

/// Processes of containers by the container's id.
fn tasks(node: &Node) -> Result<BTreeMap<String, u32>> {
    let table = output(node.containerd("tasks").arg("ls"))?;
    let row = |line: &str| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
    };
    Ok(table.lines().filter_map(row).collect())
}
