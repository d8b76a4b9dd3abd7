//! The servers and services to measure, and the edges to import.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use devstack::env_file::Env;
use devstack::pipeline::{self, Pipeline};
use devstack::services::Profile;
use devstack::{Ports, Server as _, Servers, Sizes, Tools};
use flate2::read::MultiGzDecoder;
use tests::Endpoints;
use uuid::Uuid;

/// Time limit for the restart of a service.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Follower and followed.
pub type Edge = (String, String);

/// A set of new servers; dropping it removes them.
pub struct Setup {
    /// Addresses and credentials.
    pub endpoints: Endpoints,
    pipeline: Pipeline,
    servers: Servers,
}

impl Setup {
    /// Starts all servers, and the services in this folder with these settings.
    pub fn start(binaries: &Path, settings: &[(String, String)]) -> Result<Self> {
        let tools = Tools::install()?;
        let servers = Servers::temporary(&tools, Ports::free()?, Sizes::DEVELOPMENT)?;
        let migrated = pipeline::migrate_command(binaries, &servers).status()?;
        ensure!(migrated.success(), "cannot migrate the schemas");
        let settings = settings.iter().fold(Env::default(), |env, (name, value)| env.with(name, value));
        let pipeline = Pipeline::start_with(binaries, &servers, &settings)?;
        let mut env = pipeline.client_env.clone();
        env.extend(&pipeline::logins(&servers));
        let endpoints = Endpoints::from_env(&env);
        Ok(Self { endpoints, pipeline, servers })
    }

    /// Restarts query-service with one more setting, and waits until it is ready.
    pub fn restart_query_with(&mut self, name: &str, value: &str) -> Result<()> {
        let query = &mut self.pipeline.query;
        query.stop()?;
        query.spec.env.set(name, value.to_owned());
        query.start_again()?;
        query.wait_ready(READY_TIMEOUT)
    }

    /// Kills Neo4j.
    pub fn kill_neo4j(&mut self) -> Result<()> {
        self.servers.neo4j.kill9()
    }

    /// Restarts Neo4j, and waits until the projector is ready.
    pub fn revive_neo4j(&mut self) -> Result<()> {
        self.servers.neo4j.start_again()?;
        self.pipeline.projector.wait_ready(READY_TIMEOUT)
    }

    /// Peak resident memory of command-service in MiB.
    pub fn command_peak_mib(&self) -> Result<f64> {
        let pid = self.pipeline.command.pid().context("command-service does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }
}

/// Builds the programs of this tree in release mode and returns their folder.
pub fn build() -> Result<PathBuf> {
    let built = Profile::Release.build_command().status().context("cannot run cargo")?;
    ensure!(built.success(), "cannot build the services");
    Ok(Profile::Release.folder())
}

/// The edges in a file, or of the generated graph.
pub fn edges(file: Option<&Path>) -> Result<Vec<Edge>> {
    let Some(file) = file else {
        return Ok(devstack::graph::edges()
            .iter()
            .map(|edge| (account(&edge.follower.to_string()), account(&edge.followed.to_string())))
            .collect());
    };
    let bytes = BufReader::new(File::open(file).with_context(|| format!("cannot open {}", file.display()))?);
    let text: Box<dyn Read> = if file.extension().is_some_and(|e| e == "gz") {
        Box::new(MultiGzDecoder::new(bytes))
    } else {
        Box::new(bytes)
    };
    BufReader::new(text)
        .lines()
        .map(|line| {
            let line = line?;
            let mut ids = line.split('\t');
            let (Some(a), Some(b)) = (ids.next(), ids.next()) else {
                anyhow::bail!("must be two ids separated by a tab: {line}")
            };
            Ok((account(a), account(b)))
        })
        .collect()
}

/// The UUID of an integer, as in the CLI: UUIDv5 in the OID namespace.
fn account(id: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes()).to_string()
}
