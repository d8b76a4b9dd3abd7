//! `cargo xtask`: the development tool of this repository.
//!
//! Each command is a module; servers and services come from `devstack`.

mod check;
mod checkers;
mod child;
mod demo;
mod deployment;
mod docs;
mod k8s_check;
mod layers;
mod monitoring;
mod pages;
mod signals;
mod stack;
mod test;
mod up;
mod upgrade_test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use devstack::services::Profile;

use signals::Interrupt;
use test::Versions;

const TEST_HELP: &str = "\
To run some tests: `cargo xtask test -- --test it pages`. Do not choose packages (-p): Cargo then
builds dependencies with other features, so everything is built twice.

Logs of servers and services are kept in .dev/test/logs.";

/// Development tool of followgraph
///
/// Fetches PostgreSQL, NATS and Neo4j once into a cache ($FOLLOWGRAPH_CACHE, default ~/.cache/followgraph)
/// and runs them as child processes with their data in $FOLLOWGRAPH_DEV (default .dev/). When a command
/// ends, so do they.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the servers and services, write .dev/env, run until Ctrl-C
    Up {
        /// Options of the stack.
        #[command(flatten)]
        options: stack::Options,
    },
    /// Start as `up`, import a generated graph, show calls of the API, and stop
    Demo {
        /// Run until Ctrl-C instead of stopping
        #[arg(long)]
        keep: bool,
        /// Options of the stack.
        #[command(flatten)]
        options: stack::Options,
    },
    /// Run all tests against real servers
    #[command(after_help = TEST_HELP)]
    Test {
        /// Do not build the next version of the services; the rolling upgrade test then fails
        #[arg(long)]
        skip_next_version: bool,
        /// Run optimized services, for tests under load
        #[arg(long)]
        release: bool,
        /// Arguments for `cargo test --workspace`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Test an upgrade from an earlier revision and the rollback, on one database and under load
    UpgradeTest {
        /// Git revision to upgrade from, or a folder with its binaries
        #[arg(long, value_name = "REVISION")]
        from: String,
    },
    /// Run the checks that need no servers: format, layers, clippy, docs, dependencies, protocol
    Check,
    /// Render and check the overlays of k8s/; check the Dockerfile and compose.yaml
    K8sCheck,
    /// Run a real Kubernetes node on this machine, and check the manifests on it (root on Debian)
    #[command(disable_help_flag = true)]
    Cluster {
        /// `up`, `test`, `down`; `--help` shows them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Run what CI runs: `check`, `k8s-check`, then `test`
    Ci,
    /// Generate the pages of docs/ that come from the code
    Docs,
    /// Fetch servers and checking tools into the cache
    Fetch,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    match command {
        Command::Up { options } => up::run(options, &interrupt),
        Command::Demo { keep, options } => demo::run(options, keep, &interrupt),
        Command::Test { skip_next_version, release, arguments } => {
            let services = if release { Profile::Release } else { Profile::Dev };
            let versions = Versions { services, next: !skip_next_version, released: None };
            test::run(&arguments, &versions, &interrupt)
        }
        Command::UpgradeTest { from } => upgrade_test::run(&from, &interrupt),
        Command::Check => check::run(&interrupt),
        Command::K8sCheck => k8s_check::run(),
        Command::Cluster { arguments } => {
            child::succeed(Profile::Dev.build_command(), &interrupt)?;
            let mut cluster = std::process::Command::new(Profile::Dev.folder().join("cluster"));
            cluster.args(arguments);
            Ok(child::code(child::status(cluster, &interrupt)?))
        }
        Command::Ci => {
            let checked = [check::run(&interrupt)?, k8s_check::run()?];
            if let Some(code) = checked.into_iter().find(|code| *code != ExitCode::SUCCESS) {
                return Ok(code);
            }
            let versions = Versions { services: Profile::Dev, next: true, released: None };
            test::run(&[], &versions, &interrupt)
        }
        Command::Docs => {
            child::succeed(Profile::Dev.build_command(), &interrupt)?;
            for page in pages::write(&Profile::Dev.folder())? {
                println!("{page}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Fetch => {
            devstack::fetch::Tools::install()?;
            checkers::Checkers::install()?;
            devstack::prometheus::Programs::install()?;
            devstack::grpcurl::program()?;
            deployment::Tools::install()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
