//! The port: its services with health and reflection, and the accept loop until the drain.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

use super::call::Shared;
use super::connection::{self, Port};
use super::connections::Connections;
use super::dispatch::ByLimit;
use super::health::ReadinessHealth;
use super::limits::Limits;
use super::methods::{Methods, RulesByService};
use super::rules::{MethodRule, Rules, mismatches};
use super::settings::Settings;
use crate::lifecycle::Drain;
use crate::listen::{self, BindError};
use crate::readiness::Readiness;

/// Pause after a failed accept. Usually the process has no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Listed by reflection in addition to the services that were added.
const HEALTH: &str = "grpc.health.v1.Health";
/// Likewise.
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// The accepted compression of requests; every added service must accept it. A compressed message counts for the limits
/// with its method's maximum.
pub const REQUEST_ENCODING: CompressionEncoding = CompressionEncoding::Gzip;

/// Requests of health and reflection contain a name only.
const MAX_NAME_MESSAGE: usize = 4 << 10;
static HEALTH_ROWS: [MethodRule; 2] = [
    MethodRule::open("Check", MAX_NAME_MESSAGE).exempt_from_limits(),
    // If limited, watches would take the places of the older API's callers.
    MethodRule::open("Watch", MAX_NAME_MESSAGE).exempt_from_limits(),
];
static REFLECTION_ROWS: [MethodRule; 1] = [MethodRule::open("ServerReflectionInfo", MAX_NAME_MESSAGE)];

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is in use, or this process may not open it.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A descriptor set does not parse.
    #[error("the service descriptors do not parse")]
    Descriptors(#[from] prost::DecodeError),
    /// The descriptor set does not serve reflection.
    #[error("the service descriptors do not serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The rules do not cover the methods that are served.
    #[error("the rules of methods are incomplete: {0}")]
    Rules(String),
}

/// A server whose port is open.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    readiness: Readiness,
    listener: TcpListener,
    local_addr: SocketAddr,
    routes: Routes,
    names: Vec<&'static str>,
    rules: RulesByService,
    descriptors: Vec<&'static [u8]>,
}

impl Server {
    /// Opens the port; port 0 is a free one. Connections wait in the backlog until [`Self::serve`].
    pub async fn bind(settings: Settings, readiness: Readiness) -> Result<Self, Error> {
        let (listener, local_addr) = listen::bind(settings.listen, "GRPC_LISTEN")?;
        Ok(Self {
            settings,
            readiness,
            listener,
            local_addr,
            routes: Routes::default(),
            names: Vec::new(),
            rules: RulesByService::from([
                (HEALTH, Rules::open(&HEALTH_ROWS)),
                (REFLECTION, Rules::open(&REFLECTION_ROWS)),
                (REFLECTION_ALPHA, Rules::open(&REFLECTION_ROWS)),
            ]),
            // With the types of error details, a client that knows only reflection can read errors.
            descriptors: vec![tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET],
        })
    }

    /// The address in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Adds an encoded file descriptor set, for reflection and for the labels of metrics.
    #[must_use]
    pub fn descriptors(mut self, encoded: &'static [u8]) -> Self {
        self.descriptors.push(encoded);
        self
    }

    /// Adds a service with the rules of its methods. `make` creates an instance that accepts messages up to a size.
    #[must_use]
    pub fn add_service<S>(mut self, rules: Rules, make: impl Fn(usize) -> S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        let service = ByLimit::new(rules.rows, self.settings.max_request_bytes, make);
        self.routes = self.routes.add_service(service);
        self.rules.insert(S::NAME, rules);
        self
    }

    /// Serves until the drain begins and every connection has ended.
    pub async fn serve(self, drain: Drain) -> Result<(), Error> {
        let mut described = self.descriptors.clone();
        // Reflection adds its own descriptors.
        described.extend([
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ]);
        check_rules(&self.rules, &described)?;
        let methods = Methods::new(&described, &self.rules, self.settings.max_request_bytes)?;
        let names = self.names.clone();
        let reflection = || {
            let builder = tonic_reflection::server::Builder::configure();
            let sets = self.descriptors.iter();
            let builder =
                sets.fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set));
            // A contract may describe services that another process serves.
            let names = names.iter().chain(&[HEALTH, REFLECTION]);
            names.fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let routes = self
            .routes
            .add_service(
                ReadinessHealth::server(self.readiness, self.names, drain.begin.clone())
                    .accept_compressed(REQUEST_ENCODING)
                    .max_decoding_message_size(MAX_NAME_MESSAGE),
            )
            .add_service(
                reflection()
                    .build_v1()?
                    .accept_compressed(REQUEST_ENCODING)
                    .max_decoding_message_size(MAX_NAME_MESSAGE),
            )
            .add_service(
                reflection()
                    .build_v1alpha()?
                    .accept_compressed(REQUEST_ENCODING)
                    .max_decoding_message_size(MAX_NAME_MESSAGE),
            )
            .prepare();
        let connections = Connections::new(self.settings.max_connections);
        let shared = Arc::new(Shared {
            methods,
            default_deadline: self.settings.default_deadline,
            read_timeout: self.settings.read_timeout,
            limits: Limits::new(&self.settings.limits),
            connections: Arc::clone(&connections),
        });
        let port = Port { routes, shared, settings: self.settings.clone(), drain: drain.clone() };

        let tls = self.settings.tls.is_some();
        tracing::info!(address = %self.local_addr, tls, "gRPC port open");
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = drain.begin.cancelled() => break,
            };
            match accepted {
                Ok((socket, _)) => {
                    if let Some(admitted) = connections.admit() {
                        tasks.spawn(connection::serve(socket, admitted, port.clone()));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Closes the port, so that new clients are refused and do not wait.
        drop(self.listener);
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}

/// A method without a rule would be open to everyone.
fn check_rules(rules: &RulesByService, descriptors: &[&[u8]]) -> Result<(), Error> {
    let mut wrong = Vec::new();
    for (service, rules) in rules {
        // The set that describes the service has the fewest mismatches; the others know none of its methods.
        let objections = descriptors.iter().map(|set| mismatches(set, service, rules.rows));
        let objections = objections.collect::<Result<Vec<_>, _>>()?;
        wrong.extend(objections.into_iter().min_by_key(Vec::len).unwrap_or_default());
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::Rules(wrong.join(", "))) }
}
