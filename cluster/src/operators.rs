//! What a production cluster has in addition to Kubernetes: enforced network policies, metrics of pods, the Prometheus
//! operator with a Prometheus, and the Prometheus adapter. All are built from their Go modules; Prometheus is Debian's.
//!
//! Each check installs what it needs, because building takes minutes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use devstack::{
    fetch::{Cache, run},
    go::Go,
    prometheus, workspace,
};
use serde_json::json;

use crate::{
    cluster::output,
    images::{Images, NETWORK},
    kubectl::Kubectl,
    manifests,
    node::{Node, SERVICES},
    programs,
};

const KUBE_ROUTER: &str = include_str!("../manifests/kube-router.yaml");
const METRICS_SERVER: &str = include_str!("../manifests/metrics-server.yaml");
const PROMETHEUS: &str = include_str!("../manifests/prometheus.yaml");
const ADAPTER: &str = include_str!("../manifests/prometheus-adapter.yaml");

/// The operator's version; the same as that of its definitions in `devstack/tools.yaml`.
const OPERATOR: &str = "0.85.0";
const OPERATOR_IMAGES: [&str; 2] = [
    "quay.io/prometheus-operator/prometheus-operator:v0.85.0",
    "quay.io/prometheus-operator/prometheus-config-reloader:v0.85.0",
];
const READY: &str = "--timeout=180s";

/// kube-router, which enforces network policies.
pub fn policies(node: &Node) -> Result<()> {
    let (program, network) = {
        let cache = Cache::lock()?;
        let network = cache.install("cluster-network", |folder| {
            run(Command::new("mmdebstrap")
                .args(["--variant=minbase", "--include=iptables,ipset"])
                .arg(programs::release()?)
                .arg(folder.join("network.tar")))
        })?;
        (Go::find(&cache)?.program(&cache, "kube-router")?, network)
    };
    let images = Images::of(node);
    images.import(&network.join("network.tar"), NETWORK)?;
    install(&images, "kube-router", "localhost/cluster/kube-router:1", &program)?;
    let kubectl = Kubectl::new(node);
    kubectl.apply(&KUBE_ROUTER.replace("SERVICES", SERVICES))?;
    rollout(&kubectl.namespace("kube-system"), "daemonset/kube-router")
}

/// The metrics server.
pub fn metrics_server(node: &Node) -> Result<()> {
    let program = {
        let cache = Cache::lock()?;
        Go::find(&cache)?.program(&cache, "metrics-server")?
    };
    install(&Images::of(node), "metrics-server", "localhost/cluster/metrics-server:1", &program)?;
    let kubectl = Kubectl::new(node);
    kubectl.apply(METRICS_SERVER)?;
    rollout(&kubectl.namespace("kube-system"), "deployment/metrics-server")?;
    kubectl.run(&["wait", "--for=condition=Available", "apiservice/v1beta1.metrics.k8s.io", READY])?;
    Ok(())
}

/// The definitions of the operators whose objects the overlay `production` contains.
pub fn definitions(node: &Node) -> Result<Vec<PathBuf>> {
    let cache = Cache::lock()?;
    let go = Go::find(&cache)?;
    let modules = ["cloudnative-pg", "gateway-api", "prometheus-operator"];
    let files: Vec<PathBuf> =
        modules.iter().map(|name| go.files(&cache, name)).collect::<Result<Vec<_>>>()?.concat();
    for file in &files {
        apply_large(&Kubectl::new(node), file)?;
    }
    Ok(files)
}

/// The Prometheus operator, as its project ships it, and a Prometheus.
pub fn prometheus(node: &Node) -> Result<()> {
    let (programs, bundle) = {
        let cache = Cache::lock()?;
        let go = Go::find(&cache)?;
        let programs = go.programs(
            &cache,
            &format!("prometheus-operator-programs-{OPERATOR}"),
            &workspace::root().join("cluster/prometheus-operator"),
            &["operator", "prometheus-config-reloader"]
                .map(|name| format!("github.com/prometheus-operator/prometheus-operator/cmd/{name}"))
                .each_ref()
                .map(String::as_str),
            &[],
        )?;
        (programs, go.files(&cache, "prometheus-operator-bundle")?)
    };
    let images = Images::of(node);
    for tag in OPERATOR_IMAGES {
        images.stand_in("operator", tag, &[("programs", &programs)])?;
    }
    let server = prometheus::Programs::install()?.prometheus;
    let folder = node.place.folder("prometheus")?;
    fs::copy(&server, folder.join("prometheus"))?;
    images.stand_in("prometheus", "localhost/cluster/prometheus:1", &[("programs", &folder)])?;
    images.load(&[OPERATOR_IMAGES[0], OPERATOR_IMAGES[1], "localhost/cluster/prometheus:1"])?;

    let kubectl = Kubectl::new(node);
    for file in &bundle {
        apply_large(&kubectl, file)?;
    }
    rollout(&kubectl.namespace("default"), "deployment/prometheus-operator")?;
    kubectl.apply(&PROMETHEUS.replace("PROMETHEUS_VERSION", &version(&server)?))?;
    kubectl.run(&[
        "--namespace=monitoring",
        "wait",
        "--for=condition=Available",
        "prometheus/cluster",
        READY,
    ])?;
    Ok(())
}

/// The Prometheus adapter, with the rules that the overlay `production` has for its chart.
pub fn adapter(node: &Node) -> Result<()> {
    let program = {
        let cache = Cache::lock()?;
        Go::find(&cache)?.program(&cache, "adapter")?
    };
    install(&Images::of(node), "prometheus-adapter", "localhost/cluster/prometheus-adapter:1", &program)?;
    let values = manifests::documents(&workspace::read("k8s/overlays/production/metrics-adapter.yaml")?)?;
    let values = values.first().context("metrics-adapter.yaml is empty")?;
    let kubectl = Kubectl::new(node);
    kubectl.apply(
        &json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "prometheus-adapter", "namespace": "monitoring"},
            // As the chart does. JSON is YAML.
            "data": {"config.yaml": json!({"rules": values["rules"]["custom"]}).to_string()},
        })
        .to_string(),
    )?;
    kubectl.apply(ADAPTER)?;
    rollout(&kubectl.namespace("monitoring"), "deployment/prometheus-adapter")?;
    kubectl.run(&["wait", "--for=condition=Available", "apiservice/v1beta1.custom.metrics.k8s.io", READY])?;
    Ok(())
}

/// Builds and loads the image of one program.
fn install(images: &Images<'_>, name: &str, tag: &str, program: &Path) -> Result<()> {
    let folder = program.parent().context("a program has no folder")?;
    images.stand_in(name, tag, &[("programs", folder)])?;
    images.load(&[tag])
}

/// Applies definitions of another project: too large for an annotation, and its warnings are its own.
fn apply_large(kubectl: &Kubectl<'_>, file: &Path) -> Result<()> {
    run(kubectl.command().args(["apply", "--server-side", "--force-conflicts", "--filename"]).arg(file))
}

fn rollout(kubectl: &Kubectl<'_>, workload: &str) -> Result<()> {
    kubectl.run(&["rollout", "status", workload, READY]).map(drop)
}

/// `v2.42.0`, from `prometheus, version 2.42.0+ds (...)`.
fn version(prometheus: &Path) -> Result<String> {
    let text = output(Command::new(prometheus).arg("--version"))?;
    let version = text.split_whitespace().nth(2).context("prometheus prints no version")?;
    Ok(format!("v{}", version.split('+').next().unwrap_or(version)))
}
