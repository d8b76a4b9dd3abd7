//! Sets of servers and services for tests that break them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use devstack::env_file::Env;
use devstack::pipeline::{self, Pipeline};
use devstack::ports::loopback;
use devstack::services::{Profile, Program, Service, ServiceSpec};
use devstack::{Ports, Server as _, Servers, Sizes, Tls, Tools};
use tokio::task::block_in_place;

use crate::endpoints::Endpoints;
use crate::spare::{self, Schema};
use crate::turns::{Turn, Weight};
use crate::wait::LIMIT;

/// PostgreSQL, NATS, Neo4j and the three services, for one test.
///
/// Its methods block: use it from `#[tokio::test(flavor = "multi_thread")]`.
pub struct Own {
    /// The services. Dropped before the servers.
    pub pipeline: Pipeline,
    /// The servers.
    pub servers: Servers,
    /// Its addresses for clients.
    pub endpoints: Endpoints,
    settings: Env,
    schema: Schema,
    // Dropped last: it ends after the servers.
    turn: Turn,
}

/// Options of a set.
#[derive(Debug)]
pub struct Options {
    binaries: PathBuf,
    tls: Option<Tls>,
    read_replicas: usize,
    weight: Weight,
}

impl Default for Options {
    fn default() -> Self {
        Self { binaries: binaries(), tls: None, read_replicas: 1, weight: Weight::default() }
    }
}

/// One of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Command,
    Projector,
    Query,
    Postgres,
    Nats,
    Neo4j,
    /// The projector of the second read replica, in a set that has one.
    SecondProjector,
    /// The Neo4j of the second read replica, in a set that has one.
    SecondNeo4j,
}

impl Victim {
    /// The six processes of every set.
    pub const ALL: [Self; 6] =
        [Self::Command, Self::Projector, Self::Query, Self::Postgres, Self::Nats, Self::Neo4j];
}

/// The folder of the binaries under test.
pub fn binaries() -> PathBuf {
    std::env::var_os("FOLLOWGRAPH_TEST_BIN_DIR").map_or_else(|| Profile::Dev.folder(), PathBuf::from)
}

/// The folder of the next version's binaries: see the feature `next-version` of the contract.
pub fn next_binaries() -> PathBuf {
    let folder = std::env::var_os("FOLLOWGRAPH_TEST_NEXT_BIN_DIR").map(PathBuf::from);
    folder.expect("`cargo xtask test` builds the next version, and says where it is")
}

/// The folder of an earlier revision's binaries.
///
/// # Panics
/// Outside of `cargo xtask upgrade-test`.
pub fn released_binaries() -> PathBuf {
    let folder = std::env::var_os("FOLLOWGRAPH_TEST_RELEASED_BIN_DIR").map(PathBuf::from);
    folder.expect("`cargo xtask upgrade-test` builds the earlier revision, and says where it is")
}

impl Own {
    /// Options of a set that may run concurrently with another light one; see [`Weight::Light`].
    pub fn light() -> Options {
        Options { weight: Weight::Light, ..Options::default() }
    }

    /// Starts a set and waits until it is ready.
    pub async fn start() -> Self {
        Options::default().start().await
    }

    /// As [`Self::start`], with more environment variables for the services.
    pub async fn start_with(more: Env) -> Self {
        Options::default().start_with(more).await
    }

    /// As [`Self::start`], with variables that depend on the servers.
    pub async fn start_through(more: impl FnOnce(&mut Servers) -> Env) -> Self {
        Options::default().start_through(more).await
    }

    /// As [`Self::start`], with TLS everywhere, and with client certificates.
    pub async fn start_encrypted(tls: Tls) -> Self {
        Options::default().start_encrypted(tls).await
    }

    /// A set whose query-service has the address of a second read replica that does not exist yet; see [`Self::grow`].
    pub async fn start_to_grow(more: Env) -> Self {
        Options { read_replicas: 2, ..Options::default() }.start_with(more).await
    }

    /// A set with the schema and the services of another version.
    pub async fn start_from(binaries: &Path, more: Env) -> Self {
        Options { binaries: binaries.to_owned(), ..Options::default() }.start_with(more).await
    }

    /// Starts the second read replica, and does not wait until it is built.
    pub fn grow(&mut self) {
        self.grow_from(&binaries());
    }

    /// As [`Self::grow`], with a projector of another version.
    pub fn grow_from(&mut self, binaries: &Path) {
        block_in_place(|| {
            let tools = Tools::install().expect("the tools are installed");
            self.servers.add_read_replicas(&tools).expect("a second Neo4j starts");
            let added = self.pipeline.add_projectors(binaries, &self.servers, &self.settings);
            added.expect("a second projector starts");
        });
    }

    /// The set's addresses, with the second read replica in place of the first.
    pub fn second_read_model(&self) -> Endpoints {
        Endpoints { neo4j_uri: self.servers.further_neo4j[0].url(), ..self.endpoints.clone() }
    }

    /// Starts a second process of a kind, on ports of its own, and waits until it is ready.
    pub fn another(&self, program: Program) -> Service {
        self.another_from(&binaries(), program)
    }

    /// As [`Self::another`], with another version.
    pub fn another_from(&self, binaries: &Path, program: Program) -> Service {
        let ports = Ports::free().expect("free ports");
        let mut first = pipeline::spec(program, binaries, &self.servers);
        first.env.extend(&self.settings);
        let name = format!("{}-2", first.name);
        ready(ServiceSpec {
            grpc: first.grpc.map(|_| loopback(ports.command)),
            admin: loopback(ports.command_admin),
            log: self.servers.log_file(&name),
            name,
            ..first
        })
    }

    /// Migrates the schemas with the command line of another version.
    pub fn migrate_with(&self, binaries: &Path) {
        block_in_place(|| migrate(binaries, &self.servers));
    }

    /// Kills one process with SIGKILL.
    pub fn kill(&mut self, victim: Victim) {
        block_in_place(|| match victim {
            Victim::Command => self.pipeline.command.kill9(),
            Victim::Projector => self.pipeline.projector.kill9(),
            Victim::Query => self.pipeline.query.kill9(),
            Victim::Postgres => self.servers.postgres.kill9(),
            Victim::Nats => self.servers.nats.kill9(),
            Victim::Neo4j => self.servers.neo4j.kill9(),
            Victim::SecondProjector => self.pipeline.further_projectors[0].kill9(),
            Victim::SecondNeo4j => self.servers.further_neo4j[0].kill9(),
        })
        .unwrap_or_else(|error| panic!("cannot kill {victim:?}: {error:#}"));
    }

    /// Restarts a killed process, and does not wait until the set is ready.
    pub fn revive(&mut self, victim: Victim) {
        block_in_place(|| match victim {
            Victim::Command => self.pipeline.command.start_again(),
            Victim::Projector => self.pipeline.projector.start_again(),
            Victim::Query => self.pipeline.query.start_again(),
            Victim::Postgres => self.servers.postgres.start_again(),
            Victim::Nats => self.servers.nats.start_again(),
            Victim::Neo4j => self.servers.neo4j.start_again(),
            Victim::SecondProjector => self.pipeline.further_projectors[0].start_again(),
            Victim::SecondNeo4j => self.servers.further_neo4j[0].start_again(),
        })
        .unwrap_or_else(|error| panic!("cannot start {victim:?} again: {error:#}"));
    }

    /// Waits until all services are ready.
    pub fn wait_ready(&mut self) {
        self.wait_ready_within(LIMIT);
    }

    /// As [`Self::wait_ready`], with another timeout: after many kills a read model has much to catch up with.
    pub fn wait_ready_within(&mut self, patience: Duration) {
        block_in_place(|| self.pipeline.wait_ready(patience)).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.turn.ended("test");
        // They are no longer needed, and Neo4j rolls back their transactions. No other test must get a set that failed.
        if self.pipeline.kill9().is_ok() && !std::thread::panicking() {
            spare::leave(&mut self.servers, self.schema);
        }
    }
}

impl Options {
    /// As [`Own::start`].
    pub async fn start(self) -> Own {
        self.start_with(Env::default()).await
    }

    /// As [`Own::start_with`].
    pub async fn start_with(self, more: Env) -> Own {
        self.start_through(move |_| more).await
    }

    /// As [`Own::start_encrypted`].
    pub async fn start_encrypted(self, tls: Tls) -> Own {
        Self { tls: Some(tls), ..self }.start().await
    }

    /// As [`Own::start_through`].
    pub async fn start_through(self, more: impl FnOnce(&mut Servers) -> Env) -> Own {
        let Self { binaries, tls, read_replicas, weight } = self;
        // Fails first, with a message: without `cargo xtask test` there are no binaries.
        Endpoints::shared();
        let mut turn = Turn::wait(weight).await;
        let schema = if binaries == self::binaries() { Schema::Present } else { Schema::Other };
        let spare = if tls.is_none() { spare::take(schema).await } else { None };
        turn.ended("emptying");
        let (servers, pipeline, settings) = block_in_place(|| {
            let tools = Tools::install().expect("the tools are installed");
            let ports = Ports::free().and_then(|ports| ports.with_read_replicas(read_replicas));
            let ports = ports.expect("free ports");
            let mut servers =
                Servers::temporary_with(&tools, ports, Sizes::SMALL, tls, spare).expect("the servers start");
            turn.ended("servers");
            migrate(&binaries, &servers);
            turn.ended("schemas");
            let settings = more(&mut servers);
            let pipeline = Pipeline::start_with(&binaries, &servers, &settings).expect("the services start");
            (servers, pipeline, settings)
        });
        turn.ended("services");
        let mut env = pipeline.client_env.clone();
        env.extend(&pipeline::logins(&servers));
        let endpoints = Endpoints::from_env(&env);
        Own { pipeline, servers, endpoints, settings, schema, turn }
    }
}

/// Migrates the schemas with the command line of this version.
fn migrate(binaries: &Path, servers: &Servers) {
    let migrated = pipeline::migrate_command(binaries, servers).output().expect("the CLI runs");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
}

/// Starts one more command-service on the shared servers, with other settings, and waits until it is ready.
pub fn command_service_beside(shared: &Endpoints, settings: Env) -> Service {
    service_beside(shared, Program::Command, &settings)
}

/// Starts one more query-service in the same way; without `AUTH_TOKENS` every caller may read.
pub fn query_service_beside(shared: &Endpoints, settings: Env) -> Service {
    let mut env = Env::default()
        .with("NEO4J_URI", &shared.neo4j_uri)
        .with("NEO4J_USER", &shared.neo4j_user)
        .with("NEO4J_PASSWORD", &shared.neo4j_password);
    env.extend(&settings);
    service_beside(shared, Program::Query, &env)
}

fn service_beside(shared: &Endpoints, program: Program, settings: &Env) -> Service {
    ready(spec_beside(shared, program, settings))
}

/// Starts one more process on the shared servers, with other settings, and returns at once, since some are not supposed
/// to become ready. A projector needs a `NEO4J_URI` other than the shared one's, which has its projector.
pub fn start_beside(shared: &Endpoints, program: Program, settings: &Env) -> Service {
    block_in_place(|| Service::start(spec_beside(shared, program, settings)).expect("the service starts"))
}

fn spec_beside(shared: &Endpoints, program: Program, settings: &Env) -> ServiceSpec {
    let ports = Ports::free().expect("free ports");
    let name = format!("{}-{}", program.binary(), ports.command);
    let mut env = Env::default()
        .with("DATABASE_URL", shared.logins.database(program.principal()))
        .with("NATS_URL", shared.logins.nats(program.principal()));
    if program == Program::Query && settings.get("AUTH_TOKENS").is_none() {
        env.set("ANONYMOUS_READS", "true");
    }
    env.extend(settings);
    let (grpc, admin) = (loopback(ports.command), loopback(ports.command_admin));
    // Reserved until the tests end: no other process may take the ports before this one listens, or while it is
    // stopped.
    std::mem::forget(ports);
    ServiceSpec {
        program,
        binaries: binaries(),
        env,
        grpc: (program != Program::Projector).then_some(grpc),
        admin,
        log: std::env::temp_dir().join(format!("followgraph-{name}.log")),
        name,
    }
}

/// The same process with the settings of the shared one: a second replica.
pub fn second_replica(shared: &Endpoints) -> Service {
    let tokens = format!("read+write+admin:{}", shared.token);
    command_service_beside(shared, Env::default().with("AUTH_TOKENS", tokens))
}

fn ready(spec: ServiceSpec) -> Service {
    block_in_place(|| {
        let mut service = Service::start(spec).expect("the service starts");
        service.wait_ready(LIMIT).unwrap_or_else(|error| panic!("{error:#}"));
        service
    })
}

impl Endpoints {
    /// The same addresses, with another command-service.
    #[must_use]
    pub fn through(&self, command_service: &Service) -> Self {
        let address = command_service.spec.grpc.expect("command-service has a port");
        Self { command: address.to_string(), ..self.clone() }
    }

    /// The same addresses, with another query-service.
    #[must_use]
    pub fn reading_through(&self, query_service: &Service) -> Self {
        let address = query_service.spec.grpc.expect("query-service has a port");
        Self { query: address.to_string(), ..self.clone() }
    }

    /// The same addresses, with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }
}
