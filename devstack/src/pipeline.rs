//! The three services on one set of servers, and the environment of their clients.
//!
//! If one of them does not get ready, all are stopped.

use std::{path::Path, process::Command, time::Duration};

use anyhow::Result;

use crate::{
    env_file::Env,
    ports::loopback,
    principals::Principal,
    servers::Servers,
    services::{Program, Service, ServiceSpec, cli},
};

/// Time for services to get ready.
const READY: Duration = Duration::from_secs(180);
/// Time for a projector to get ready, which it is when its read model is complete: a million edges take one to two
/// minutes.
const COMPLETE: Duration = Duration::from_secs(600);

/// The three services, with one more projector for each further read replica. Dropping it stops them.
#[derive(Debug)]
pub struct Pipeline {
    // Fields are dropped in this order: readers first.
    /// query-service.
    pub query: Service,
    /// The projector of the first Neo4j.
    pub projector: Service,
    /// Projectors of further Neo4j.
    pub further_projectors: Vec<Service>,
    /// command-service.
    pub command: Service,
    /// Environment of clients and the CLI.
    pub client_env: Env,
}

impl Pipeline {
    /// Starts all of them and waits until each is ready. The schemas must be up to date; see
    /// [`migrate_command`].
    pub fn start(binaries: &Path, servers: &Servers) -> Result<Self> {
        Self::start_with(binaries, servers, &Env::default())
    }

    /// Like [`Self::start`], with more environment variables for all services.
    pub fn start_with(binaries: &Path, servers: &Servers, more: &Env) -> Result<Self> {
        let spec = |program| {
            let mut spec = spec(program, binaries, servers);
            spec.env.extend(more);
            spec
        };
        let mut pipeline = Self {
            command: Service::start(spec(Program::Command))?,
            projector: Service::start(spec(Program::Projector))?,
            further_projectors: Vec::new(),
            query: Service::start(spec(Program::Query))?,
            client_env: client_env(servers),
        };
        pipeline.add_projectors(binaries, servers, more)?;
        for service in [&mut pipeline.command, &mut pipeline.query] {
            service.wait_ready(READY)?;
        }
        for projector in std::iter::once(&mut pipeline.projector).chain(&mut pipeline.further_projectors) {
            if let Err(error) = projector.wait_ready(READY) {
                if !projector.is_running()? {
                    return Err(error);
                }
                eprintln!("{} has not completed its read model yet; waiting for it", projector.name());
                projector.wait_ready(COMPLETE)?;
            }
        }
        Ok(pipeline)
    }

    /// Starts a projector for each further Neo4j that has none, and returns at once.
    pub fn add_projectors(&mut self, binaries: &Path, servers: &Servers, more: &Env) -> Result<()> {
        for number in self.further_projectors.len()..servers.further_neo4j.len() {
            let mut spec = further_projector(binaries, servers, number);
            spec.env.extend(more);
            self.further_projectors.push(Service::start(spec)?);
        }
        Ok(())
    }

    /// Waits until each of them is ready.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        for service in self.all() {
            service.wait_ready(limit)?;
        }
        Ok(())
    }

    /// All services.
    pub fn all(&mut self) -> Vec<&mut Service> {
        let mut all = vec![&mut self.command, &mut self.projector, &mut self.query];
        all.extend(&mut self.further_projectors);
        all
    }

    /// Kills all of them, for a set that is discarded.
    pub fn kill9(&mut self) -> Result<()> {
        self.all().into_iter().try_for_each(Service::kill9)
    }

    /// Asks all of them to stop at once, waits, and kills what is left.
    pub fn stop(&mut self) -> Result<()> {
        for service in self.all() {
            service.sigterm()?;
        }
        for service in self.all() {
            service.stop()?;
        }
        Ok(())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // All at once, which is faster. A failure is retried when the fields drop.
        let _ = self.stop();
    }
}

/// How `program` is started against `servers`, on the ports of that set.
pub fn spec(program: Program, binaries: &Path, servers: &Servers) -> ServiceSpec {
    let ports = &servers.ports;
    let (grpc, admin) = match program {
        Program::Command => (Some(ports.command), ports.command_admin),
        Program::Projector => (None, ports.projector_admin),
        Program::Query => (Some(ports.query), ports.query_admin),
    };
    let name = program.binary();
    let mut env = servers
        .env_of(program.principal())
        .with("AUTH_TOKENS", format!("read+write+admin:{}", servers.secrets.token))
        // For the header of the older API.
        .with("INTERNAL_GRAPH_WRITE_TOKEN", &servers.secrets.token)
        .with("PAGE_TOKEN_KEYS", &servers.secrets.page_key)
        .with("PROJECTOR_NAME", "projector-0");
    if let (Some(tls), Some(_)) = (&servers.tls, grpc) {
        env.extend(&tls.grpc_env());
    }
    ServiceSpec {
        program,
        name: name.to_owned(),
        binaries: binaries.to_owned(),
        env,
        grpc: grpc.map(loopback),
        admin: loopback(admin),
        log: servers.log_file(name),
    }
}

/// How the projector of a further Neo4j is started.
fn further_projector(binaries: &Path, servers: &Servers, number: usize) -> ServiceSpec {
    let first = spec(Program::Projector, binaries, servers);
    let name = format!("projector-{}", number + 1);
    ServiceSpec {
        env: first.env.with("NEO4J_URI", servers.further_neo4j[number].url()).with("PROJECTOR_NAME", &name),
        admin: loopback(servers.ports.further[number].projector_admin),
        log: servers.log_file(&name),
        name,
        ..first
    }
}

/// Variables with the URLs of services and subscribers at the servers, for tests; see [`login`].
pub const LOGINS: [&str; 7] = [
    "DATABASE_URL_COMMAND",
    "DATABASE_URL_PROJECTOR",
    "DATABASE_URL_QUERY",
    "NATS_URL_COMMAND",
    "NATS_URL_PROJECTOR",
    "NATS_URL_QUERY",
    "NATS_URL_SUBSCRIBER",
];

/// The variable with the URL `address` of a principal.
pub fn login(address: &str, who: Principal) -> String {
    format!("{address}_{who:?}").to_uppercase()
}

/// The variables of [`LOGINS`]. The operator's are in [`client_env`].
pub fn logins(servers: &Servers) -> Env {
    let who = [Principal::Command, Principal::Projector, Principal::Query];
    let databases = who.into_iter().map(|who| (login("DATABASE_URL", who), servers.postgres.url_of(who)));
    let streams = who
        .into_iter()
        .chain([Principal::Subscriber])
        .map(|who| (login("NATS_URL", who), servers.nats.url_of(who)));
    databases.chain(streams).fold(Env::default(), |env, (name, url)| env.with(&name, url))
}

/// Environment of clients and the CLI: the services' addresses, the token, and the servers' URLs.
pub fn client_env(servers: &Servers) -> Env {
    let mut env = servers.env();
    if let Some(tls) = servers.tls.as_ref() {
        env.extend(&tls.client_env());
    }
    env.with("FOLLOWGRAPH_COMMAND_ADDR", loopback(servers.ports.command).to_string())
        .with("FOLLOWGRAPH_QUERY_ADDR", loopback(servers.ports.query).to_string())
        .with("FOLLOWGRAPH_TOKEN", &servers.secrets.token)
}

/// The command that migrates the schemas of `servers` and creates the services' roles.
pub fn migrate_command(binaries: &Path, servers: &Servers) -> Command {
    let mut env = servers.env();
    for who in Principal::ALL {
        if let Some((_, variable)) = who.postgres_role() {
            env.set(variable, servers.secrets.password_of(who));
        }
    }
    let mut command = cli(binaries, &env);
    command.args(["migrate", "--roles"]);
    command
}
