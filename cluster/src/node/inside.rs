//! The node's first process: sets up the namespaces, starts the programs, and ends with the first of them that ends.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use devstack::{daemon::Daemon, fetch::run as succeed};
use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::Pid,
};

use super::config::{self, ADDRESS, API_PORT, NAME, PODS, SERVICES};
use crate::{
    place::{Place, write},
    programs::Programs,
};

/// Settings of the machine's kernel that the kubelet insists on. It finds files with its values instead, so that the
/// machine keeps its own.
const KERNEL: [(&str, &str); 3] =
    [("kernel/panic", "10"), ("kernel/panic_on_oops", "1"), ("vm/overcommit_memory", "1")];

const ETCD: &str = "http://127.0.0.1:2379";

/// Runs the node.
pub fn run(place: &Place, programs: &Programs) -> Result<()> {
    if std::process::id() != 1 {
        bail!("this command is for the node's first process\nwhat to do: cargo xtask cluster up");
    }
    fs::write("/proc/sys/kernel/hostname", NAME).context("cannot set the node's name")?;
    mounts(place)?;
    links()?;
    secrets(place)?;
    let daemons = start(place, programs)?;
    fs::write(place.ready_file(), "")?;
    let ended = reap(&daemons);
    // Dropping the others would stop them in order, but they end with this process.
    eprintln!("{ended:#}");
    std::process::exit(1);
}

/// Folders in fixed places that the programs write to, and kernel settings that they must not change.
fn mounts(place: &Place) -> Result<()> {
    for target in ["/run", "/var/lib/cni"] {
        fs::create_dir_all(target)?;
        succeed(Command::new("mount").args(["-t", "tmpfs", "tmpfs", target]))?;
    }
    succeed(Command::new("mount").arg("--bind").arg(place.folder("logs")?).arg("/var/log"))?;
    for (setting, value) in KERNEL {
        let file = format!("/run/{}", setting.replace('/', "."));
        fs::write(&file, value)?;
        succeed(Command::new("mount").args(["--bind", &file, &format!("/proc/sys/{setting}")]))?;
    }
    // Volumes of pods appear in the mounts of later containers.
    succeed(Command::new("mount").args(["--make-rshared", "/"]))
}

fn links() -> Result<()> {
    let ip = |arguments: &[&str]| succeed(Command::new("ip").args(arguments));
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", "node", "type", "bridge"])?;
    ip(&["address", "add", &format!("{ADDRESS}/24"), "dev", "node"])?;
    ip(&["link", "set", "node", "up"])?;
    // Of clients on the node: kube-proxy's rules replace the destination after the choice of a route.
    ip(&["route", "add", SERVICES, "dev", "node"])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot let the node forward")
}

/// Makes the administrator's token, the key of service accounts' tokens, and the configuration that uses them.
fn secrets(place: &Place) -> Result<()> {
    let pki = place.folder("pki")?;
    let (proxy, proxy_key) = (pki.join("front-proxy.crt"), pki.join("front-proxy.key"));
    if !proxy.exists() {
        // What the API server proves itself with to servers that extend it, such as the metrics server.
        succeed(
            Command::new("openssl")
                .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"])
                .args(["-subj", "/CN=front-proxy", "-keyout"])
                .arg(&proxy_key)
                .arg("-out")
                .arg(&proxy),
        )?;
    }
    if place.kubeconfig().exists() {
        return Ok(());
    }
    let key = pki.join("accounts.key");
    succeed(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"))?;
    succeed(
        Command::new("openssl")
            .args(["rsa", "-pubout", "-in"])
            .arg(&key)
            .arg("-out")
            .arg(pki.join("accounts.pub")),
    )?;
    let token = devstack::secrets::random_hex(16)?;
    write(&pki.join("tokens.csv"), &format!("{token},admin,admin,system:masters\n"))?;
    write(&place.kubeconfig(), &config::kubeconfig(place, &token)?.to_string())
}

/// Starts the programs one after the other.
fn start(place: &Place, programs: &Programs) -> Result<Vec<Daemon>> {
    let pki = place.folder("pki")?;
    let logs = place.folder("logs")?;
    let kubeconfig = place.kubeconfig();
    let kubeconfig = kubeconfig.to_str().context("the path of this clone is not UTF-8")?;
    let daemon = |name: &str| {
        Daemon::new(
            name,
            logs.join(format!("{name}.log")),
            "Read the log. Old state may be damaged: run `down`.",
        )
    };
    let kubernetes = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(programs.kubernetes(name));
        command.args(arguments);
        command
    };
    let kubectl = |arguments: &[&str]| {
        let mut command = kubernetes("kubectl", &["--kubeconfig", kubeconfig]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };

    let mut etcd = daemon("etcd");
    let mut command = Command::new(programs.unpacked("etcd"));
    command
        .args([
            "--listen-client-urls",
            ETCD,
            "--advertise-client-urls",
            ETCD,
            "--unsafe-no-fsync",
            // With its default logger, etcd 3.4 crashes when it warns of a slow read on a busy machine.
            "--logger=zap",
            "--data-dir",
        ])
        .arg(place.folder("etcd")?);
    etcd.launch(command)?;

    let mut containerd = daemon("containerd");
    let mut command = Command::new(programs.unpacked("containerd"));
    command.arg("--config").arg(config::containerd(place, &programs.debian.join("usr/lib/cni"))?);
    // It looks for its shim there.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", programs.debian.join("usr/bin").display()));
    containerd.start(command, || Path::new(config::CONTAINERD).exists())?;

    let mut api = daemon("kube-apiserver");
    let file = |name: &str| pki.join(name).display().to_string();
    let command = kubernetes(
        "kube-apiserver",
        &[
            &format!("--etcd-servers={ETCD}"),
            &format!("--secure-port={API_PORT}"),
            &format!("--bind-address={ADDRESS}"),
            &format!("--advertise-address={ADDRESS}"),
            &format!("--cert-dir={}", file("api")),
            &format!("--service-cluster-ip-range={SERVICES}"),
            "--service-account-issuer=https://kubernetes.default.svc",
            &format!("--service-account-key-file={}", file("accounts.pub")),
            &format!("--service-account-signing-key-file={}", file("accounts.key")),
            &format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=RBAC",
            &format!("--proxy-client-cert-file={}", file("front-proxy.crt")),
            &format!("--proxy-client-key-file={}", file("front-proxy.key")),
            &format!("--requestheader-client-ca-file={}", file("front-proxy.crt")),
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            // For port-forward, exec and logs: no DNS server knows the node's name.
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
        ],
    );
    api.launch(command)?;
    api.wait_ready(|| kubectl(&["get", "--raw", "/readyz"]))?;

    let mut controllers = daemon("kube-controller-manager");
    controllers.launch(kubernetes(
        "kube-controller-manager",
        &[
            &format!("--kubeconfig={kubeconfig}"),
            &format!("--service-account-private-key-file={}", file("accounts.key")),
            &format!("--root-ca-file={}", file("api/apiserver.crt")),
            &format!("--cluster-cidr={PODS}"),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ],
    ))?;
    let mut scheduler = daemon("kube-scheduler");
    scheduler.launch(kubernetes(
        "kube-scheduler",
        &[&format!("--kubeconfig={kubeconfig}"), "--leader-elect=false", "--bind-address=127.0.0.1"],
    ))?;

    let mut kubelet = daemon("kubelet");
    let configuration = pki.join("kubelet.json");
    write(&configuration, &config::kubelet().to_string())?;
    kubelet.launch(kubernetes(
        "kubelet",
        &[
            &format!("--kubeconfig={kubeconfig}"),
            &format!("--config={}", configuration.display()),
            &format!("--hostname-override={NAME}"),
            &format!("--node-ip={ADDRESS}"),
            &format!("--root-dir={}", place.folder("kubelet")?.display()),
            &format!("--cert-dir={}", file("kubelet")),
        ],
    ))?;
    let mut proxy = daemon("kube-proxy");
    proxy.launch(kubernetes(
        "kube-proxy",
        &[
            &format!("--kubeconfig={kubeconfig}"),
            &format!("--hostname-override={NAME}"),
            &format!("--cluster-cidr={PODS}"),
            "--proxy-mode=iptables",
            // That limit is the machine's.
            "--conntrack-max-per-core=0",
        ],
    ))?;
    let node = format!("node/{NAME}");
    kubelet.wait_ready(|| kubectl(&["wait", "--for=condition=Ready", &node, "--timeout=1s"]))?;
    Ok(vec![etcd, containerd, api, controllers, scheduler, kubelet, proxy])
}

/// Waits for the ends of processes, orphans included, until one of `daemons` ends. Returns how.
fn reap(daemons: &[Daemon]) -> anyhow::Error {
    loop {
        let ended = match waitpid(Pid::from_raw(-1), None) {
            Ok(status) => status,
            Err(error) => return anyhow::Error::new(error).context("cannot wait for the node's processes"),
        };
        let Some(pid) = ended.pid().and_then(|pid| u32::try_from(pid.as_raw()).ok()) else {
            continue;
        };
        if matches!(ended, WaitStatus::Exited(..) | WaitStatus::Signaled(..))
            && let Some(daemon) = daemons.iter().find(|daemon| daemon.pid() == Some(pid))
        {
            return daemon.error(&format!("{} ended: {ended:?}", daemon.name));
        }
    }
}
