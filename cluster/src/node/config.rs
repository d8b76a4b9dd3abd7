//! Configuration of the node's programs.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::place::{Place, write};

/// The node's own address, on a bridge: the API server must not advertise a loopback address.
pub const ADDRESS: &str = "10.99.0.1";
/// Addresses of pods.
pub const PODS: &str = "10.88.0.0/16";
/// Addresses of Services.
pub const SERVICES: &str = "10.96.0.0/16";
/// The Service of the cluster's DNS.
pub const DNS: &str = "10.96.0.10";
/// The port of the API server.
pub const API_PORT: u16 = 6443;
/// The socket of containerd inside of the node, where the kubelet also looks for statistics.
pub const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// The name of the node.
pub const NAME: &str = "node0";
/// The cgroup of everything on the node.
pub const CGROUP: &str = "followgraph-cluster";
/// The image of the process that holds a pod's namespaces.
pub const PAUSE: &str = "localhost/cluster/pause:1";

/// What the administrator and the node's programs log in with.
pub fn kubeconfig(place: &Place, token: &str) -> Result<Value> {
    let authority = place.folder("pki")?.join("api/apiserver.crt");
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "node", "cluster": {
            "server": format!("https://{ADDRESS}:{API_PORT}"),
            "certificate-authority": authority,
        }}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "node", "context": {"cluster": "node", "user": "admin"}}],
        "current-context": "node",
    }))
}

/// Each pod has a link of its own to the node, which routes: so all traffic passes kube-proxy's rules, also between two
/// pods.
pub fn network(place: &Place) -> Result<Value> {
    Ok(json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "dataDir": place.folder("addresses")?,
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    }))
}

/// Writes containerd's configuration and returns its path.
pub fn containerd(place: &Place, plugins: &Path) -> Result<PathBuf> {
    let folder = place.folder("containerd")?;
    let network = place.folder("network")?;
    write(&network.join("pods.conflist"), &self::network(place)?.to_string())?;
    let file = folder.join("config.toml");
    let text = format!(
        "version = 2\n\
         root = {root:?}\n\
         state = \"/run/containerd\"\n\
         [grpc]\n\
         address = {CONTAINERD:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n\
         sandbox_image = {PAUSE:?}\n\
         restrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
         bin_dir = {plugins:?}\n\
         conf_dir = {network:?}\n",
        root = folder.join("root"),
    );
    write(&file, &text)?;
    Ok(file)
}

/// Configuration of the kubelet.
pub fn kubelet() -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // Nothing but the node can reach it.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "address": ADDRESS,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{CGROUP}"),
        "clusterDNS": [DNS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        "enforceNodeAllocatable": [],
        // The machine's disk is not the node's alone.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 99,
        "imageGCLowThresholdPercent": 98,
        "failSwapOn": false,
        "resolvConf": "",
    })
}
