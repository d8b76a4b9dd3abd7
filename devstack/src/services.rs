//! The three services and the CLI as processes, the way an operator runs them.
//!
//! If a service does not get ready, the error shows what `/readyz` said and the last lines of its log.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    daemon::Daemon,
    env_file::Env,
    fake_time::{FakeTime, Threads},
    http,
    principals::Principal,
    process::Signal,
    workspace,
};

/// Variables of this process that services get too.
const PASSED_THROUGH: [&str; 4] = ["PATH", "LOG_LEVEL", "LOG_FORMAT", "RUST_BACKTRACE"];

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Serves writes.
    Command,
    /// Feeds Neo4j.
    Projector,
    /// Serves reads.
    Query,
}

impl Program {
    /// All services.
    pub const ALL: [Self; 3] = [Self::Command, Self::Projector, Self::Query];

    /// The name of the binary.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Command => "command-service",
            Self::Projector => "projector",
            Self::Query => "query-service",
        }
    }

    /// The principal that it logs in as.
    pub fn principal(self) -> Principal {
        match self {
            Self::Command => Principal::Command,
            Self::Projector => Principal::Projector,
            Self::Query => Principal::Query,
        }
    }
}

/// A build profile of Cargo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Fast to build.
    Dev,
    /// Fast to run.
    Release,
}

impl Profile {
    /// Where the binaries of this profile are.
    pub fn folder(self) -> PathBuf {
        workspace::target().join(match self {
            Self::Dev => "debug",
            Self::Release => "release",
        })
    }

    /// The command that builds all binaries of the workspace.
    pub fn build_command(self) -> Command {
        let mut command = workspace::cargo();
        // A single package gives dependencies other features, so that they are built twice.
        command.args(["build", "--workspace", "--bins"]);
        if self == Self::Release {
            command.arg("--release");
        }
        command
    }
}

/// Builds the services with the next version of the contract, for tests of rolling upgrades, and returns their folder.
/// Call it before the usual build, which writes its binaries to the same place.
pub fn build_next_version(run: impl FnOnce(Command) -> Result<()>) -> Result<PathBuf> {
    let names = Program::ALL.map(Program::binary);
    let mut build = workspace::cargo();
    build.args(["build", "--workspace", "--features", "command-service/next-version"]);
    build.args(names.iter().flat_map(|name| ["--bin", name]));
    // There are none; the option gives dependencies the features of the test build, so that they are built once.
    build.arg("--examples");
    run(build)?;
    let folder = workspace::target().join("next-version");
    fs::create_dir_all(&folder).context("cannot create the folder of the next version")?;
    for name in names {
        fs::copy(Profile::Dev.folder().join(name), folder.join(name))
            .with_context(|| format!("cannot copy the next version of {name}"))?;
    }
    Ok(folder)
}

/// The CLI with this environment; the caller adds arguments.
pub fn cli(binaries: &Path, env: &Env) -> Command {
    let mut command = Command::new(binaries.join("followgraph"));
    command.envs(env.iter());
    command
}

/// How a service process is started.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// The service.
    pub program: Program,
    /// Name in logs and errors; unique if there are several processes of a service.
    pub name: String,
    /// The folder of the binaries.
    pub binaries: PathBuf,
    /// Its environment without the listen addresses.
    pub env: Env,
    /// Listen address of gRPC; the projector has none.
    pub grpc: Option<SocketAddr>,
    /// Listen address of `/livez`, `/readyz` and `/metrics`.
    pub admin: SocketAddr,
    /// The log file.
    pub log: PathBuf,
}

/// A service process. Dropping it stops it.
#[derive(Debug)]
pub struct Service {
    daemon: Daemon,
    /// How it is started, to change it before [`Service::start_again`].
    pub spec: ServiceSpec,
}

impl Service {
    /// Starts the process and returns at once; see [`Service::wait_ready`].
    pub fn start(spec: ServiceSpec) -> Result<Self> {
        let daemon = Daemon::new(
            &spec.name,
            spec.log.clone(),
            "Read the log above; if a server cannot be reached, read that server's log in the same folder.",
        );
        let mut service = Self { daemon, spec };
        service.start_again()?;
        Ok(service)
    }

    /// Starts the process with its environment and returns at once.
    pub fn start_again(&mut self) -> Result<()> {
        let spec = &self.spec;
        let mut command = Command::new(spec.binaries.join(spec.program.binary()));
        command.env_clear();
        for name in PASSED_THROUGH {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(spec.env.iter());
        command.env("ADMIN_LISTEN", spec.admin.to_string());
        if let Some(grpc) = spec.grpc {
            command.env("GRPC_LISTEN", grpc.to_string());
        }
        self.daemon.launch(command)
    }

    /// Waits until `/readyz` answers 200; fails if the process ends or `limit` passes.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let admin = self.spec.admin;
        self.daemon.start_limit = limit;
        self.daemon.wait_ready(|| http::is_ok(admin, "/readyz")).map_err(|error| {
            match http::get(admin, "/readyz") {
                Ok(answer) => error.context(format!(
                    "{} /readyz answers {}: {}",
                    self.spec.name,
                    answer.status,
                    answer.body.trim()
                )),
                Err(_) => error,
            }
        })
    }

    /// Whether `/readyz` answers 200 now.
    pub fn is_ready(&self) -> bool {
        http::is_ok(self.spec.admin, "/readyz")
    }

    /// Kills the process with SIGKILL and waits for its end.
    pub fn kill9(&mut self) -> Result<()> {
        self.daemon.kill9().map(drop)
    }

    /// Sends SIGTERM and returns at once; see [`Service::wait_exit`].
    pub fn sigterm(&mut self) -> Result<()> {
        self.daemon.signal(Signal::SIGTERM)
    }

    /// Sends any signal and returns at once, SIGSTOP for instance.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.daemon.signal(signal)
    }

    /// Waits until the process has ended, and returns how; `None` if it still runs after `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        self.daemon.wait(limit)
    }

    /// Asks the process to stop, waits, and kills it if that takes too long.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        self.daemon.stop()
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> Result<bool> {
        self.daemon.is_running()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.daemon.log_tail(lines)
    }

    /// An error about this process that shows its last log lines.
    pub fn error(&self, problem: &str) -> anyhow::Error {
        self.daemon.error(problem)
    }

    /// Its name in logs and errors.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The address of `/livez`, `/readyz` and `/metrics`.
    pub fn admin_addr(&self) -> SocketAddr {
        self.spec.admin
    }

    /// Gives it the returned clock from the next start on.
    pub fn fake_time(&mut self) -> Result<FakeTime> {
        let clock = FakeTime::new(self.spec.log.with_extension("faketime"), Threads::Many)?;
        self.spec.env.extend(&clock.env());
        Ok(clock)
    }
}
