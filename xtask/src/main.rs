//! `cargo xtask`: the commands of a developer.
//!
//! Owns: the command line and the exit code. Each command is a module; servers and services come from `devstack`.

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
Some tests only: `cargo xtask test -- --test it pages`. Always the whole workspace is built, because
with -p Cargo builds dependencies with other features, and everything twice.

The logs of servers and services stay in .dev/test/logs.";

/// Development tool of followgraph
///
/// PostgreSQL, NATS and Neo4j are fetched once into a cache ($FOLLOWGRAPH_CACHE, else
/// ~/.cache/followgraph) and run as child processes with their data under .dev/ ($FOLLOWGRAPH_DEV moves
/// it). Nothing is left running when a command ends.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the servers and the three services, write .dev/env, stay until Ctrl-C
    Up {
        /// How the stack is started.
        #[command(flatten)]
        options: stack::Options,
    },
    /// As `up`, then import a generated graph, walk through the API, and end
    Demo {
        /// Stay until Ctrl-C instead of ending
        #[arg(long)]
        keep: bool,
        /// How the stack is started.
        #[command(flatten)]
        options: stack::Options,
    },
    /// Run all tests against real servers
    #[command(after_help = TEST_HELP)]
    Test {
        /// Do not build the next version of the services; the test of rolling upgrades then fails
        #[arg(long)]
        skip_next_version: bool,
        /// Run the services as they are released, optimized: for the long forms, which load them
        #[arg(long)]
        release: bool,
        /// Arguments for `cargo test --workspace`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Run the services of an earlier revision beside these on one database, under load, and back again
    UpgradeTest {
        /// Git revision to upgrade from, or a folder with its programs
        #[arg(long, value_name = "REVISION")]
        from: String,
    },
    /// Run the checks that need no servers: format, layers, clippy, docs, dependencies, protocol
    Check,
    /// Render every overlay of k8s/, and validate them, the Dockerfile and compose.yaml
    K8sCheck,
    /// Run everything that CI runs: `check`, `k8s-check`, then `test`
    Ci,
    /// Make the pages of `docs` that are made of the code
    Docs,
    /// Fetch the servers and the checking tools, start nothing
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
            test::run(
                &arguments,
                &Versions { services, next: !skip_next_version, released: None },
                &interrupt,
            )
        }
        Command::UpgradeTest { from } => upgrade_test::run(&from, &interrupt),
        Command::Check => check::run(&interrupt),
        Command::K8sCheck => k8s_check::run(),
        Command::Ci => {
            let checked = [check::run(&interrupt)?, k8s_check::run()?];
            match checked.into_iter().find(|code| *code != ExitCode::SUCCESS) {
                None => test::run(
                    &[],
                    &Versions { services: Profile::Dev, next: true, released: None },
                    &interrupt,
                ),
                Some(code) => Ok(code),
            }
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
