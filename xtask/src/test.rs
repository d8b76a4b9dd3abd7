//! `cargo xtask test`: runs all tests against one shared, fresh set of real servers. Environment variables name it.

mod report;

use std::{
    io::{IsTerminal, stdout},
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::Result;
use devstack::{
    Pipeline, Ports, Servers, Sizes, Tools,
    env_file::Env,
    pipeline, prometheus,
    services::{self, Profile},
    workspace,
};

use crate::{child, signals::Interrupt};
use report::{SlowTests, Steps};

/// Pause of jobs in the shared pipeline. Tests wait for jobs of tens of thousands of edges; no load suffers from these.
const PAUSE: &str = "0.5";

/// Prefix of the variables for tests.
const PREFIX: &str = "FOLLOWGRAPH_TEST_";

/// Which versions of the services the tests run.
#[derive(Debug)]
pub struct Versions {
    /// Profile of the services; tests are not optimized.
    pub services: Profile,
    /// Whether to build the next version of the contract.
    pub next: bool,
    /// Folder with the binaries of an earlier revision.
    pub released: Option<PathBuf>,
}

/// Builds everything, starts the servers and services, runs `cargo test`, and returns its exit code.
pub fn run(arguments: &[String], versions: &Versions, interrupt: &Interrupt) -> Result<ExitCode> {
    let mut steps = Steps::begin();
    let tools = Tools::install()?;
    // One test needs it. Report that it is missing before the build.
    if let Err(error) = prometheus::Programs::install() {
        eprintln!("without Prometheus, the test of firing alerts fails: {error:#}");
    }
    // Built from source: during the tests, that would take CPU time from them.
    if let Err(error) = devstack::grpcurl::program() {
        eprintln!("without grpcurl, the tests that call it fail: {error:#}");
    }
    interrupt.check()?;
    steps.ended("tools");
    // Report code that does not compile before servers start.
    let next = build(arguments, versions, interrupt)?;
    steps.ended("build");

    eprintln!("starting servers and services for the tests");
    let binaries = versions.services.folder();
    let root = workspace::dev().join("test");
    let mut servers = Servers::start_fresh(&tools, &root, Ports::free()?, Sizes::SMALL)?;
    interrupt.check()?;
    child::succeed(pipeline::migrate_command(&binaries, &servers), interrupt)?;
    let pipeline =
        Pipeline::start_with(&binaries, &servers, &Env::default().with("JOB_STEP_PAUSE_RATIO", PAUSE))?;
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
    // Keeps the logs.
    servers.wipe()?;
    Servers::remove_abandoned()?;
    steps.ended("stop");
    eprint!("\ncargo xtask test took\n{steps}{slow}");
    Ok(child::code(status))
}

/// Read by the test programs.
const THREADS: &str = "RUST_TEST_THREADS";
/// Tests at once for each processor: most of them wait, for a server or for their turn to run a set of servers.
const THREADS_PER_PROCESSOR: usize = 2;

/// `cargo test`. Its output is a pipe, so it would print no colors on a terminal.
fn cargo_test(arguments: &[String]) -> Command {
    let mut tests = workspace::cargo();
    tests.args(["test", "--workspace"]);
    if std::env::var_os(THREADS).is_none() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        tests.env(THREADS, (processors * THREADS_PER_PROCESSOR).to_string());
    }
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

/// Builds services and tests; returns the folder of the next version's binaries, if built.
fn build(arguments: &[String], versions: &Versions, interrupt: &Interrupt) -> Result<Option<PathBuf>> {
    let next = versions
        .next
        .then(|| services::build_next_version(|build| child::succeed(build, interrupt)))
        .transpose()?;
    // One build of services and tests: separate ones give dependencies different features and build them twice.
    let mut build = workspace::cargo();
    build.args(["build", "--workspace"]).args(targets(arguments));
    child::succeed(build, interrupt)?;
    if versions.services != Profile::Dev {
        child::succeed(versions.services.build_command(), interrupt)?;
    }
    Ok(next)
}

/// The targets to build: binaries and the test that `arguments` name, or everything.
fn targets(arguments: &[String]) -> Vec<&str> {
    match arguments.iter().position(|argument| argument == "--test") {
        Some(at) if at + 1 < arguments.len() => vec!["--bins", "--test", &arguments[at + 1]],
        _ => vec!["--all-targets"],
    }
}

fn tail(servers: &Servers, name: &str) -> String {
    devstack::process::Log::of_all_runs(&servers.log_file(name)).tail(20)
}

/// The variables that name the shared set.
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
