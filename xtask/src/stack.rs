//! The development stack: one set of servers and the three services on it, with data in `.dev`.
//!
//! A lock allows one stack per `.dev` at a time.

use std::{fs::File, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use devstack::{
    Pipeline, Ports, Servers, Sizes, Tools, env_file::Env, lock_file, pipeline, services::Profile, workspace,
};

use crate::{child, signals::Interrupt};

/// Options of a stack.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// Build optimized services
    #[arg(long)]
    release: bool,
    /// Remove the data of earlier runs
    #[arg(long)]
    fresh: bool,
    /// Number of read replicas; each is a Neo4j and a projector and uses 2 GB of memory
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    read_replicas: u8,
}

impl Options {
    fn profile(self) -> Profile {
        if self.release { Profile::Release } else { Profile::Dev }
    }
}

/// A running stack. Dropping it stops everything.
pub struct Stack {
    // Fields are dropped in this order: services before servers, the lock last.
    /// The three services.
    pub pipeline: Pipeline,
    /// The servers.
    pub servers: Servers,
    /// The folder of the binaries.
    pub binaries: PathBuf,
    _lock: File,
}

impl Stack {
    /// Fetches servers, builds services, starts all of them, and writes `.dev/env`.
    pub fn start(options: Options, interrupt: &Interrupt) -> Result<Self> {
        let begun = Instant::now();
        let lock = lock()?;
        let tools = Tools::install()?;
        interrupt.check()?;
        eprintln!("building");
        child::succeed(options.profile().build_command(), interrupt)?;
        let binaries = options.profile().folder();
        eprintln!("starting PostgreSQL, NATS and Neo4j");
        let root = workspace::dev().join("servers");
        let start = if options.fresh { Servers::start_fresh } else { Servers::start };
        let ports = Ports::default_or_free()?.with_read_replicas(options.read_replicas.into())?;
        let mut servers = start(&tools, &root, ports, Sizes::DEVELOPMENT)?;
        servers.add_read_replicas(&tools)?;
        interrupt.check()?;
        eprintln!("running migrations");
        child::succeed(pipeline::migrate_command(&binaries, &servers), interrupt).context(
            "the migration failed\nwhat to do: if the data is from another version, remove it with --fresh",
        )?;
        eprintln!("starting command-service, projector and query-service");
        let pipeline = Pipeline::start(&binaries, &servers)?;
        interrupt.check()?;
        pipeline.client_env.write(&env_file())?;
        eprintln!("ready after {:.1} s", begun.elapsed().as_secs_f64());
        Ok(Self { pipeline, servers, binaries, _lock: lock })
    }

    /// Addresses and secrets for clients and the CLI.
    pub fn client_env(&self) -> &Env {
        &self.pipeline.client_env
    }

    /// Prints the addresses of all processes.
    pub fn print_endpoints(&self) {
        let ports = &self.servers.ports;
        let rows = [
            ("command-service", format!("127.0.0.1:{} (gRPC)", ports.command)),
            ("query-service", format!("127.0.0.1:{} (gRPC)", ports.query)),
            ("command-service admin", admin(ports.command_admin)),
            ("query-service admin", admin(ports.query_admin)),
            ("projector admin", admin(ports.projector_admin)),
            ("PostgreSQL", format!("127.0.0.1:{}", ports.postgres)),
            ("NATS", self.servers.nats.address()),
            ("NATS monitoring", self.servers.nats.monitor_url()),
            ("Neo4j", self.servers.neo4j.url()),
            ("logs", self.servers.root().join("logs").display().to_string()),
        ];
        for (name, place) in rows {
            println!("  {name:<22} {place}");
        }
        for (number, neo4j) in (2..).zip(&self.servers.further_neo4j) {
            println!("  {:<22} {}", format!("Neo4j {number}"), neo4j.url());
        }
        println!(
            "\nTo set addresses, passwords and the token in your shell:\n  source {}",
            env_file().display()
        );
    }

    /// Fails if a process has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        for server in self.servers.all() {
            if !server.daemon_mut().is_running()? {
                return Err(server.daemon().error(&format!("{} has ended unexpectedly", server.name())));
            }
        }
        for service in self.pipeline.all() {
            if !service.is_running()? {
                return Err(service.error(&format!("{} has ended unexpectedly", service.name())));
            }
        }
        Ok(())
    }
}

fn admin(port: u16) -> String {
    format!("http://127.0.0.1:{port} (/livez, /readyz, /metrics)")
}

/// The file that people `source`.
pub fn env_file() -> PathBuf {
    workspace::dev().join("env")
}

fn lock() -> Result<File> {
    let lock = lock_file::open(&workspace::dev().join("lock"))?;
    if lock.try_lock().is_err() {
        bail!(
            "another `cargo xtask up` or `demo` of this clone is running\n\
             what to do: use it (source {}), or stop it with Ctrl-C",
            env_file().display()
        );
    }
    Ok(lock)
}
