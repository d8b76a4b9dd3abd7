//! What a cluster has before followgraph: the pause image, DNS, and a default storage class with volumes.

use std::fmt::Write as _;

use anyhow::Result;

use crate::{
    images::Images,
    kubectl::Kubectl,
    node::{DNS, NAME, Node},
};

const COREDNS: &str = include_str!("../manifests/coredns.yaml");
const STORAGE: &str = include_str!("../manifests/storage.yaml");
/// Volumes are folders of the node. Two overlays and a second replica of each store use less.
const VOLUMES: usize = 16;

/// Installs all of it and waits for DNS.
pub fn install(node: &Node) -> Result<()> {
    let images = Images::of(node);
    images.system()?;
    let kubectl = Kubectl::new(node);
    kubectl.apply(&COREDNS.replace("CLUSTER_DNS", DNS))?;
    kubectl.apply(&storage(node)?)?;
    kubectl.namespace("kube-system").run(&["rollout", "status", "deployment/coredns", "--timeout=120s"])?;
    Ok(())
}

/// The class and its volumes. Nothing provisions volumes here, so they are made beforehand. They are `local`, not
/// `hostPath`: the kubelet gives only those to a pod's `fsGroup`.
fn storage(node: &Node) -> Result<String> {
    let mut manifests = STORAGE.to_owned();
    for number in 0..VOLUMES {
        let folder = node.place.folder(&format!("volumes/{number}"))?;
        write!(
            manifests,
            "---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: volume-{number}}}\nspec:\n  \
             storageClassName: local\n  capacity: {{storage: 200Gi}}\n  accessModes: [ReadWriteOnce]\n  \
             persistentVolumeReclaimPolicy: Retain\n  local: {{path: {folder:?}}}\n  nodeAffinity: {{required: \
             {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: \
             [{NAME}]}}]}}]}}}}\n"
        )?;
    }
    Ok(manifests)
}
