//! `cargo xtask test`: all tests against one shared set of real servers.
//!
//! Owns: that the set is fresh and nobody else's, and the variables through which the tests find it.

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use devstack::{
    Pipeline, Ports, Servers, Sizes, Tools,
    env_file::Env,
    pipeline, prometheus,
    services::{Profile, Program},
    workspace,
};

use crate::{child, signals::Interrupt};

/// Every variable for tests begins with this.
const PREFIX: &str = "FOLLOWGRAPH_TEST_";

/// Which versions of the services the tests run.
#[derive(Debug)]
pub struct Versions {
    /// How these services are built; the tests themselves are not optimized.
    pub services: Profile,
    /// Build the next version of the contract.
    pub next: bool,
    /// Folder with the programs of an earlier revision.
    pub released: Option<PathBuf>,
}

/// Builds everything, starts a set and the services, runs `cargo test`, and passes its exit code on.
pub fn run(arguments: &[String], versions: &Versions, interrupt: &Interrupt) -> Result<ExitCode> {
    let tools = Tools::install()?;
    // One test needs it, and the others do without: so its lack is told here, and not only after the build.
    if let Err(error) = prometheus::Programs::install() {
        eprintln!("without Prometheus the test that lets real alerts fire fails: {error:#}");
    }
    // grpcurl is built from source: in the middle of the tests, that would take their cores from them.
    if let Err(error) = devstack::grpcurl::program() {
        eprintln!("without grpcurl the tests that call it fail: {error:#}");
    }
    interrupt.check()?;
    // Code that does not compile is found before any server starts.
    // Services and tests in one build: built apart, dependencies have other features and are built twice.
    let next = versions.next.then(|| build_next_version(interrupt)).transpose()?;
    let mut build = workspace::cargo();
    build.args(["build", "--workspace"]).args(targets(arguments));
    child::succeed(build, interrupt)?;
    if versions.services != Profile::Dev {
        child::succeed(versions.services.build_command(), interrupt)?;
    }

    let begun = Instant::now();
    eprintln!("starting servers and services for the tests");
    let binaries = versions.services.folder();
    let root = workspace::dev().join("test");
    let mut servers = Servers::start_fresh(&tools, &root, Ports::free()?, Sizes::SMALL)?;
    interrupt.check()?;
    child::succeed(pipeline::migrate_command(&binaries, &servers), interrupt)?;
    let pipeline = Pipeline::start(&binaries, &servers)?;
    eprintln!("ready after {:.1} s", begun.elapsed().as_secs_f64());

    let mut tests = workspace::cargo();
    tests
        .args(["test", "--workspace"])
        .args(arguments)
        .envs(test_env(&servers, &pipeline).iter())
        .env(format!("{PREFIX}BIN_DIR"), &binaries);
    for (name, folder) in [("NEXT_BIN_DIR", &next), ("RELEASED_BIN_DIR", &versions.released)] {
        if let Some(folder) = folder {
            tests.env(format!("{PREFIX}{name}"), folder);
        }
    }
    let status = child::status(tests, interrupt)?;
    if !status.success() {
        for log in ["command-service", "projector", "query-service"] {
            eprintln!("--- last lines of {log} ---");
            eprintln!("{}", tail(&servers, log));
        }
    }
    drop(pipeline);
    // The logs stay, for reading after a failure.
    servers.wipe()?;
    Servers::remove_abandoned()?;
    Ok(child::code(status))
}

/// What has to be built: the programs and the test that is named, or everything.
fn targets(arguments: &[String]) -> Vec<&str> {
    match arguments.iter().position(|argument| argument == "--test") {
        Some(at) if at + 1 < arguments.len() => vec!["--bins", "--test", &arguments[at + 1]],
        _ => vec!["--all-targets"],
    }
}

/// Builds the services with what a later version of the contract adds, for the test of rolling upgrades, and answers
/// where they are. Cargo keeps both builds, but puts the binaries of either in the same place: so this comes first.
fn build_next_version(interrupt: &Interrupt) -> Result<PathBuf> {
    let names = [Program::Command, Program::Projector, Program::Query].map(Program::binary);
    let mut build = workspace::cargo();
    build.args(["build", "--workspace", "--features", "command-service/next-version"]);
    build.args(names.iter().flat_map(|name| ["--bin", name]));
    // There are none, but now dependencies get the features that they have when tests are built, and are built once.
    build.arg("--examples");
    child::succeed(build, interrupt)?;
    let folder = workspace::target().join("next-version");
    fs::create_dir_all(&folder).context("cannot make a folder for the next version")?;
    for name in names {
        fs::copy(Profile::Dev.folder().join(name), folder.join(name))
            .with_context(|| format!("cannot copy the next version of {name}"))?;
    }
    Ok(folder)
}

fn tail(servers: &Servers, name: &str) -> String {
    devstack::process::Log::of_all_runs(&servers.log_file(name)).tail(20)
}

/// How the tests find the shared set.
fn test_env(servers: &Servers, pipeline: &Pipeline) -> Env {
    let mut env = Env::default();
    let mut set = |name: &str, value: String| env.set(&format!("{PREFIX}{name}"), value);
    let mut known = pipeline::client_env(servers);
    known.extend(&pipeline::logins(servers));
    for (name, value) in known.iter() {
        let name = name.strip_prefix("FOLLOWGRAPH_").unwrap_or(name);
        set(name, value.to_owned());
    }
    set("COMMAND_ADMIN", pipeline.command.admin_addr().to_string());
    set("QUERY_ADMIN", pipeline.query.admin_addr().to_string());
    set("PROJECTOR_ADMIN", pipeline.projector.admin_addr().to_string());
    set("NATS_MONITOR_URL", servers.nats.monitor_url());
    set("PAGE_TOKEN_KEYS", servers.secrets.page_key.clone());
    env
}
