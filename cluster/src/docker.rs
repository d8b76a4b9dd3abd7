//! Docker and Docker Compose in namespaces of their own, for `compose.yaml`: Debian's Docker, and Compose from its Go module.
//! Debian's Compose is of the first version, and podman runs health checks only where systemd runs.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use devstack::{
    debian,
    fetch::{Cache, run},
    go::Go,
    process::{Log, Signal, spawn},
    workspace,
};

use crate::{
    cluster::{output, until},
    node::{CGROUP, Node, first_process},
};

/// Compose's version; the same as in `cluster/compose/go.mod`.
const COMPOSE: &str = "2.40.3";
/// Time for the daemon to answer.
const START_LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A running daemon with no image but those that it is given. Dropping it ends all of its containers.
#[derive(Debug)]
pub struct Docker {
    compose: PathBuf,
    client: PathBuf,
    socket: String,
    environment: Vec<(String, String)>,
    process: Child,
    first: String,
}

impl Docker {
    /// Starts the daemon, without any state.
    pub fn start(node: &Node) -> Result<Self> {
        let (compose, debian) = {
            let cache = Cache::lock()?;
            let compose = Go::find(&cache)?.programs(
                &cache,
                &format!("docker-compose-{COMPOSE}"),
                &workspace::root().join("cluster/compose"),
                &["github.com/docker/compose/v2/cmd"],
                &[],
            )?;
            (
                compose.join("cmd"),
                cache.install("cluster-docker", |folder| debian::unpack("docker.io", folder))?,
            )
        };
        let data = node.place.folder("docker")?;
        fs::remove_dir_all(&data)?;
        let data = node.place.folder("docker")?;
        let (socket, log) = (data.join("docker.sock"), data.join("docker.log"));
        let socket = format!("unix://{}", socket.display());
        // It looks for its containerd and its proxy there.
        let path = [
            debian.join("usr/sbin"),
            debian.join("usr/bin"),
            node.programs.debian.join("usr/bin"),
            std::env::var_os("PATH").unwrap_or_default().into(),
        ];
        let path = std::env::join_paths(path.iter().flat_map(|part| std::env::split_paths(part)))?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"])
            .args([
                "sh",
                "-ceu",
                "ip link set lo up; mount -t tmpfs tmpfs /run; exec dockerd \"$@\"",
                "dockerd",
            ])
            .arg(format!("--data-root={}", data.join("data").display()))
            .args(["--exec-root=/run/docker", "--pidfile=/run/docker.pid", "--host", &socket])
            .arg(format!("--cgroup-parent=/{CGROUP}/docker"))
            // Below the hard limit of machines, which the default exceeds.
            .arg("--default-ulimit=nofile=10000:10000")
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(fs::OpenOptions::new().append(true).open(&log)?);
        let process = spawn(command, Signal::SIGKILL)?;
        let mut first = String::new();
        until(START_LIMIT, || {
            let id = first_process(process.id())?.context("the daemon's namespaces are not there")?;
            first = id.to_string();
            Ok(())
        })?;
        let docker = Self {
            compose,
            client: debian.join("usr/bin/docker"),
            socket,
            environment: Vec::new(),
            process,
            first,
        };
        let answers = until(START_LIMIT, || output(docker.client().arg("version")).map(drop));
        if let Err(error) = answers {
            bail!("Docker does not start: {error:#}\n{}", Log::of_all_runs(&log).tail(25));
        }
        Ok(docker)
    }

    /// Sets a variable for `compose.yaml`.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Docker's client.
    pub fn client(&self) -> Command {
        let mut command = Command::new(&self.client);
        command.args(["--host", &self.socket]).stdin(Stdio::null());
        command
    }

    /// Compose with the repository's `compose.yaml`.
    pub fn compose(&self) -> Command {
        let mut command = Command::new(&self.compose);
        command
            .args(["--file"])
            .arg(workspace::root().join("compose.yaml"))
            .env("DOCKER_HOST", &self.socket)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Loads images of an archive.
    pub fn load(&self, archive: &std::path::Path) -> Result<()> {
        run(self.client().args(["load", "--quiet", "--input"]).arg(archive))
    }

    /// A command that reaches the published ports.
    pub fn outside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first, "--net"]).arg(program);
        command
    }

    /// A command that sees the containers' processes.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first, "--mount", "--pid"]).arg(program);
        command
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Nothing can be reported from here. The kernel ends all processes of the namespaces with the first one.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
