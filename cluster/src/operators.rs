//! What a production cluster has in addition to Kubernetes: the definitions of operators' objects, and network policies that
//! are enforced.
//!
//! Each check installs what it needs, because building takes minutes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use devstack::{
    fetch::{Cache, run},
    go::Go,
};

use crate::{
    images::{Images, NETWORK},
    kubectl::Kubectl,
    node::{Node, SERVICES},
    programs,
};

const KUBE_ROUTER: &str = include_str!("../manifests/kube-router.yaml");
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
