//! `cargo xtask cluster`: a real Kubernetes node on this machine, and checks of the manifests on it.
//!
//! Kubernetes is built from its Go modules and runs in namespaces of its own, so the machine's addresses, mounts and
//! firewall rules stay as they are, and one signal ends everything.

mod addons;
mod checks;
mod cluster;
mod docker;
mod images;
mod kubectl;
mod load;
mod manifests;
mod node;
mod operators;
mod place;
mod pods;
mod production;
mod programs;

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use cluster::Cluster;
use kubectl::Kubectl;
use node::Node;
use place::Place;
use programs::Programs;

/// A real Kubernetes node on this machine, for tests of the manifests
///
/// Needs root on Debian. Builds Kubernetes and CoreDNS once into the cache; data is in .dev/cluster.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask cluster", bin_name = "cargo xtask cluster")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the node with cluster DNS and volumes; it runs until `down`
    Up,
    /// Stop the node and everything on it
    Down {
        /// Keep the node's state, which the next `up` continues with
        #[arg(long)]
        keep: bool,
    },
    /// Run kubectl on the node
    Kubectl {
        /// Arguments of kubectl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Start the node if it does not run, and run the checks of the manifests
    Test {
        /// Names of checks. Without any: all but those that have not passed yet, see docs/kubernetes.md
        checks: Vec<String>,
        /// The short form: images, the overlay `dev`, calls of the API
        #[arg(long, conflicts_with = "checks")]
        short: bool,
    },
    /// Be the node's first process
    #[command(hide = true)]
    Inside,
    /// Print the addresses that accept a connection; with a name, its address by the DNS server
    #[command(hide = true)]
    Probe {
        addresses: Vec<SocketAddr>,
        #[arg(long)]
        name: Option<String>,
    },
    /// Listen until standard input ends
    #[command(hide = true)]
    Listen { ports: Vec<u16> },
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
    let place = Place::of_this_clone();
    match command {
        Command::Up => {
            start(&place)?;
            println!("the node is up: cargo xtask cluster kubectl get pods -A");
        }
        Command::Down { keep } => {
            node::stop(&place)?;
            if !keep {
                place.remove()?;
            }
        }
        Command::Kubectl { arguments } => {
            let node = Node::running(&place, &Programs::install()?)?;
            return Kubectl::new(&node).replace_this_process(&arguments);
        }
        Command::Test { checks, short } => {
            let chosen = checks::choose(&checks, short)?;
            checks::run(&mut Cluster::dev(&start(&place)?), &chosen)?;
        }
        Command::Probe { addresses, name } => checks::probe(&addresses, name.as_deref())?,
        Command::Listen { ports } => checks::listen(&ports)?,
        Command::Inside => node::inside::run(&place, &Programs::install()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn start(place: &Place) -> Result<Node> {
    let node = Node::start(place, &Programs::install()?)?;
    addons::install(&node)?;
    Ok(node)
}
