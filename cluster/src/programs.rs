//! Programs of the node: Kubernetes and CoreDNS from Go modules, the rest from Debian.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use devstack::{
    debian,
    fetch::{Cache, check_platform, run},
    go::Go,
    prerequisites::require_programs,
    workspace,
};
use nix::unistd::geteuid;

/// The newest release whose kubelet runs on cgroup v1 and with containerd 1.6, which Debian 12 has.
pub const KUBERNETES: &str = "1.34.3";
const KUBERNETES_PROGRAMS: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];

/// Packages with servers: they are unpacked, because installing them would start the servers.
const UNPACKED: [&str; 3] = ["etcd-server", "containerd", "containernetworking-plugins"];

/// Programs and the Debian packages that have them.
const INSTALLED: [(&str, &str); 8] = [
    ("curl", "curl"),
    ("runc", "runc"),
    ("podman", "podman"),
    ("mmdebstrap", "mmdebstrap"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("openssl", "openssl"),
];

/// Include the packages of the stand-ins for the official images: Java for Neo4j, clients and tools that health checks
/// call.
const BASE_PACKAGES: &str =
    "ca-certificates,default-jre-headless,postgresql-client,procps,tini,wget,binutils";
/// What a program of ours needs, as in distroless images: no shell.
const RUNTIME_PACKAGES: &str = "base-files,libc6,libgcc-s1";

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The folder with the programs of Kubernetes.
    pub kubernetes: PathBuf,
    /// CoreDNS.
    pub coredns: PathBuf,
    /// Unpacked Debian packages: etcd, containerd, CNI plugins.
    pub debian: PathBuf,
    /// The root file systems of base images.
    pub bases: PathBuf,
}

impl Programs {
    /// Fetches and builds what the cache lacks: about ten minutes on two cores.
    pub fn install() -> Result<Self> {
        check_platform()?;
        if !geteuid().is_root() || !debian::is_here() {
            bail!(
                "the cluster needs root on Debian: it makes namespaces and unpacks Debian packages\n\
                 what to do: use a virtual machine or a privileged container"
            );
        }
        require_programs(&INSTALLED)?;
        let cache = Cache::lock()?;
        let go = Go::find(&cache)?;
        let packages = KUBERNETES_PROGRAMS.map(|name| format!("k8s.io/kubernetes/cmd/{name}"));
        Ok(Self {
            kubernetes: go.programs(
                &cache,
                &format!("kubernetes-{KUBERNETES}"),
                &workspace::root().join("cluster/kubernetes"),
                &packages.each_ref().map(String::as_str),
                &[&format!("k8s.io/component-base/version.gitVersion=v{KUBERNETES}")],
            )?,
            coredns: go.program(&cache, "coredns")?,
            debian: cache.install("cluster-debian", |folder| {
                UNPACKED.iter().try_for_each(|package| debian::unpack(package, folder))
            })?,
            bases: cache.install("cluster-bases", |folder| {
                let release = release()?;
                let make = |arguments: &[&str], name: &str| {
                    run(Command::new("mmdebstrap").args(arguments).arg(&release).arg(folder.join(name)))
                };
                make(&["--variant=minbase", "--include", BASE_PACKAGES], "base.tar")?;
                make(&["--variant=extract", "--include", RUNTIME_PACKAGES], "runtime.tar")
            })?,
        })
    }

    /// A program of an unpacked package.
    pub fn unpacked(&self, program: &str) -> PathBuf {
        self.debian.join("usr/bin").join(program)
    }

    /// A program of Kubernetes.
    pub fn kubernetes(&self, program: &str) -> PathBuf {
        self.kubernetes.join(program)
    }
}

/// The machine's release: programs that were built here need its C library.
pub fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read the release of this machine")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(|name| name.trim_matches('"').to_owned()).context("this machine has no VERSION_CODENAME")
}
