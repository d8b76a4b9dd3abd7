//! The node as seen from outside: start, stop, and commands inside of it.

mod config;
pub mod inside;

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use devstack::{
    fetch::run as succeed,
    process::{Log, POLL, Signal},
};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::signal::kill,
    unistd::Pid,
};

use config::CONTAINERD;
pub use config::{ADDRESS, API_PORT, CGROUP, DNS, NAME, PAUSE, SERVICES};

use crate::{place::Place, programs::Programs};

/// Time to get ready; it takes about ten seconds on two free cores.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Hierarchies of control groups; with version 2 there is only the first folder.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A running node.
#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    pub programs: Programs,
    /// The process whose end is the node's.
    first: Pid,
}

impl Node {
    /// Starts the node, with its state if there is one. Does nothing if it runs.
    pub fn start(place: &Place, programs: &Programs) -> Result<Self> {
        if let Some(first) = running(place)? {
            return Ok(Self { place: place.clone(), programs: programs.clone(), first });
        }
        let log = File::create({
            place.folder("")?;
            place.node_log()
        })?;
        make_cgroups()?;
        let _ = fs::remove_file(place.ready_file());
        let begun = Instant::now();
        let mut child = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"])
            .arg(std::env::current_exe()?)
            .arg("inside")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C on the terminal does not reach it.
            .process_group(0)
            .spawn()
            .context("cannot run unshare")?;
        fs::write(place.pid_file(), child.id().to_string())?;
        while !place.ready_file().exists() {
            let ended = child.try_wait()?;
            if ended.is_some() || begun.elapsed() > START_LIMIT {
                let tail = Log::of_all_runs(&place.node_log()).tail(25);
                stop(place)?;
                bail!(
                    "the node did not start: {}\n--- last lines of {} ---\n{tail}\n\
                     what to do: read the logs in the same folder; `cargo xtask cluster down` removes old state",
                    ended.map_or_else(|| "it is not ready in time".to_owned(), |status| status.to_string()),
                    place.node_log().display()
                );
            }
            thread::sleep(POLL);
        }
        eprintln!("the node is ready after {:.1} s", begun.elapsed().as_secs_f64());
        Self::running(place, programs)
    }

    /// The running node.
    pub fn running(place: &Place, programs: &Programs) -> Result<Self> {
        match running(place)? {
            Some(first) => Ok(Self { place: place.clone(), programs: programs.clone(), first }),
            None => bail!("the node is not running\nwhat to do: cargo xtask cluster up"),
        }
    }

    /// A command outside of the cluster that reaches the addresses of the node, of pods and of Services.
    pub fn outside(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter(&["--net"], program.as_ref())
    }

    /// A command in all namespaces of the node: what it mounts and starts ends with the node.
    pub fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter(&["--net", "--mount", "--pid", "--ipc", "--uts"], program.as_ref())
    }

    /// Moves this thread to the place of `outside`: threads that it starts and sockets that they open are there, too.
    pub fn join_network(&self) -> Result<()> {
        let file = format!("/proc/{}/ns/net", self.first);
        let network = File::open(&file).with_context(|| format!("cannot open {file}"))?;
        setns(network, CloneFlags::CLONE_NEWNET).context("cannot join the node's network")
    }

    /// Runs `work` on a thread in the place of `outside`.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let there = || {
            self.join_network()?;
            work()
        };
        thread::scope(|scope| scope.spawn(there).join()).unwrap_or_else(|_| bail!("a thread panicked"))
    }

    /// The folder of a container's control group that accounts its memory.
    pub fn memory_cgroup(&self, pod: &str, container: &str) -> PathBuf {
        let unified = Path::new(CGROUPS).join(CGROUP);
        let root = if unified.exists() { unified } else { Path::new(CGROUPS).join("memory").join(CGROUP) };
        // Every pod of ours requests less memory than its limit.
        root.join(format!("kubepods/burstable/pod{pod}/{container}"))
    }

    fn enter(&self, namespaces: &[&str], program: &OsStr) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string()]).args(namespaces).arg(program);
        command
    }

    /// Makes the images of a file of `podman save` available to pods.
    pub fn load(&self, archive: &Path) -> Result<()> {
        succeed(self.containerd("images").arg("import").arg(archive))
    }

    /// containerd's client for the images and containers of the kubelet.
    pub fn containerd(&self, command: &str) -> Command {
        let mut client = self.inside(self.programs.unpacked("ctr"));
        client.args(["--address", CONTAINERD, "--namespace", "k8s.io", command]);
        client
    }
}

/// Ends the node and all that runs on it.
pub fn stop(place: &Place) -> Result<()> {
    if let Some(first) = running(place)? {
        kill(first, Signal::SIGKILL).context("cannot end the node")?;
        // The kernel ends all processes of the namespace before the first one is gone.
        while kill(first, None) != Err(Errno::ESRCH) {
            thread::sleep(POLL);
        }
    }
    let _ = fs::remove_file(place.pid_file());
    let _ = fs::remove_file(place.ready_file());
    remove_cgroups();
    Ok(())
}

/// The node's first process: the child of the one that made the namespaces.
fn running(place: &Place) -> Result<Option<Pid>> {
    let Ok(outer) = fs::read_to_string(place.pid_file()) else {
        return Ok(None);
    };
    let outer = outer.trim();
    let name = fs::read_to_string(format!("/proc/{outer}/comm")).unwrap_or_default();
    if name.trim() != "unshare" {
        return Ok(None);
    }
    first_process(outer.parse().context("an odd process id")?)
}

/// The first process of the namespaces that this process, an `unshare`, made.
pub fn first_process(outer: u32) -> Result<Option<Pid>> {
    let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"))
        .context("cannot read the children of a process")?;
    match children.split_whitespace().next() {
        Some(first) => Ok(Some(Pid::from_raw(first.parse().context("an odd process id")?))),
        None => Ok(None),
    }
}

/// The kubelet expects its root in every hierarchy.
fn make_cgroups() -> Result<()> {
    for hierarchy in hierarchies() {
        let folder = hierarchy.join(CGROUP);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // A new group of version 1 has no processors and no memory nodes.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read_to_string(hierarchy.join(file)) {
                fs::write(folder.join(file), all)?;
            }
        }
    }
    Ok(())
}

fn remove_cgroups() {
    for hierarchy in hierarchies() {
        remove_empty(&hierarchy.join(CGROUP));
    }
}

/// Removes a group and those in it. They are empty once the node has ended; what remains does no harm.
fn remove_empty(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(CGROUPS);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    // Links name a hierarchy again.
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
