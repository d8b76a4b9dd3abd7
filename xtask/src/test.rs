//! `cargo xtask test`: all tests against one shared set of real servers.
//!
//! The set is fresh, and of this run alone. The tests find it by variables.

mod report;

use std::{
    fs,
    io::{IsTerminal, stdout},
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result};
use devstack::{
    Pipeline, Ports, Servers, Sizes, Tools,
    env_file::Env,
    pipeline, prometheus,
    services::{Profile, Program},
    workspace,
};

use crate::{child, signals::Interrupt};
use report::{SlowTests, Steps};

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
    let mut steps = Steps::begin();
    let tools = Tools::install()?;
    // One test needs it, and the others do without. So a lack of it is said here, and not only after the build.
    if let Err(error) = prometheus::Programs::install() {
        eprintln!("without Prometheus the test that lets real alerts fire fails: {error:#}");
    }
    // grpcurl is built from source: in the middle of the tests, that would take their cores from them.
    if let Err(error) = devstack::grpcurl::program() {
        eprintln!("without grpcurl the tests that call it fail: {error:#}");
    }
    interrupt.check()?;
    steps.ended("tools");
    // Code that does not compile is found before any server starts.
    let next = build(arguments, versions, interrupt)?;
    steps.ended("build");

    eprintln!("starting servers and services for the tests");
    let binaries = versions.services.folder();
    let root = workspace::dev().join("test");
    let mut servers = Servers::start_fresh(&tools, &root, Ports::free()?, Sizes::SMALL)?;
    interrupt.check()?;
    child::succeed(pipeline::migrate_command(&binaries, &servers), interrupt)?;
    let pipeline = Pipeline::start(&binaries, &servers)?;
    eprintln!("ready after {:.1} s", steps.ended("start").as_secs_f64());

    let mut tests = cargo_test(arguments);
    tests.envs(test_env(&servers, &pipeline).iter()).env(format!("{PREFIX}BIN_DIR"), &binaries);
    for (name, folder) in [("NEXT_BIN_DIR", &next), ("RELEASED_BIN_DIR", &versions.released)] {
        if let Some(folder) = folder {
            tests.env(format!("{PREFIX}{name}"), folder);
        }
    }
    let mut slow = SlowTests::default();
    let status = child::status_reading(tests, interrupt, |piece| slow.read(piece, Instant::now()))?;
    steps.ended("tests");
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
    steps.ended("stop");
    eprint!("\ncargo xtask test took\n{steps}{slow}");
    Ok(child::code(status))
}

/// `cargo test`. Its output passes through us, so it would not see a terminal behind us.
fn cargo_test(arguments: &[String]) -> Command {
    let mut tests = workspace::cargo();
    tests.args(["test", "--workspace"]);
    let chosen = arguments.iter().any(|argument| argument.starts_with("--color"));
    if chosen || !stdout().is_terminal() {
        tests.args(arguments);
        return tests;
    }
    let runner = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let (ours, runners) = arguments.split_at(runner);
    tests.args(ours).args(["--", "--color=always"]).args(runners.iter().skip(1));
    tests
}

/// Builds programs and tests; returns the folder of the next version's programs, if it is wanted.
fn build(arguments: &[String], versions: &Versions, interrupt: &Interrupt) -> Result<Option<PathBuf>> {
    let next = versions.next.then(|| build_next_version(interrupt)).transpose()?;
    // Services and tests in one build: built apart, dependencies have other features and are built twice.
    let mut build = workspace::cargo();
    build.args(["build", "--workspace"]).args(targets(arguments));
    child::succeed(build, interrupt)?;
    if versions.services != Profile::Dev {
        child::succeed(versions.services.build_command(), interrupt)?;
    }
    Ok(next)
}

/// The targets to build: the programs and the test that `arguments` name, or everything.
fn targets(arguments: &[String]) -> Vec<&str> {
    match arguments.iter().position(|argument| argument == "--test") {
        Some(at) if at + 1 < arguments.len() => vec!["--bins", "--test", &arguments[at + 1]],
        _ => vec!["--all-targets"],
    }
}

/// Builds the services with what a later version of the contract adds, for the test of rolling upgrades, and returns
/// their folder. Cargo keeps both builds, but puts the binaries of either in the same place: so this comes first.
fn build_next_version(interrupt: &Interrupt) -> Result<PathBuf> {
    let names = Program::ALL.map(Program::binary);
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
