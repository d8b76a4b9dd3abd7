//! The port, the services on it, and the accept loop.
//!
//! Owns: assembling services, health and reflection, and accepting connections until the drain.
//! Must not know: the services.
//! What can go wrong: see [`Error`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

use super::call::Calls;
use super::connection;
use super::health::ReadinessHealth;
use super::methods::Methods;
use super::settings::Settings;
use crate::lifecycle::Drain;
use crate::readiness::Readiness;

/// Pause after a failed accept: usually the process is out of file descriptors, and only time helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Listed by reflection beside the services that were added.
const HEALTH: &str = "grpc.health.v1.Health";
/// Likewise.
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or not ours to open.
    #[error("cannot listen on {listen} (GRPC_LISTEN)")]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The descriptor set that was given does not parse.
    #[error("the service descriptors do not parse")]
    Descriptors(#[from] prost::DecodeError),
    /// The descriptor set does not serve reflection.
    #[error("the service descriptors do not serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
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
    descriptors: Vec<&'static [u8]>,
}

impl Server {
    /// Opens the port. Port 0 takes a free one. Connections wait in the backlog until [`Self::serve`].
    pub async fn bind(settings: Settings, readiness: Readiness) -> Result<Self, Error> {
        let listen = settings.listen;
        let failed = |source| Error::Bind { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        Ok(Self {
            settings,
            readiness,
            listener,
            local_addr,
            routes: Routes::default(),
            names: Vec::new(),
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

    /// Adds a service. Give it `max_decoding_message_size(settings.max_request_bytes)` first: only the generated type
    /// can be told.
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Self
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
        self.routes = self.routes.add_service(service);
        self
    }

    /// Serves until the drain begins and every connection has ended.
    pub async fn serve(self, drain: Drain) -> Result<(), Error> {
        let methods = Methods::new(&self.descriptors)?;
        let names = self.names.clone();
        let reflection = || {
            let builder = self
                .descriptors
                .iter()
                .fold(tonic_reflection::server::Builder::configure(), |builder, set| {
                    builder.register_encoded_file_descriptor_set(set)
                });
            // A contract may describe services that another process serves.
            names
                .iter()
                .chain(&[HEALTH, REFLECTION])
                .fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let routes = self
            .routes
            .add_service(ReadinessHealth::server(self.readiness, self.names, drain.begin.clone()))
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
        let calls = Calls::new(routes, methods, self.settings.default_deadline, drain.end_streams.clone());

        let tls = self.settings.tls.is_some();
        tracing::info!(address = %self.local_addr, tls, "gRPC port open");
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = drain.begin.cancelled() => break,
            };
            match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection::serve(
                        socket,
                        calls.clone(),
                        self.settings.clone(),
                        drain.clone(),
                    ));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Closes the port: a client that connects now must be refused, not left waiting.
        drop(self.listener);
        connections.close();
        connections.wait().await;
        Ok(())
    }
}
