//! A load balancer in front of the services: each new connection goes to the next pod.
//!
//! It balances connections, not calls, like a Service of Kubernetes. So clients reach new pods because the server
//! limits the age of connections.

use std::net::SocketAddr;
use std::sync::Arc;

use devstack::services::Service;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::block_in_place;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::clients;
use crate::wait::LIMIT;

/// A running balancer; it ends with the test's runtime.
#[derive(Clone, Debug)]
pub struct Balancer {
    port: u16,
    backends: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Balancer {
    /// Listens on a free port of the loopback interface, without any pod yet.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let balancer = Self { port, backends: Arc::default() };
        let shared = balancer.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // One by one: a client that was accepted before a pod is removed has reached it.
                if let Some(server) = shared.connect().await {
                    tokio::spawn(join(client, server));
                }
            }
        });
        balancer
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Adds a pod to the targets of new connections.
    ///
    /// # Panics
    /// If it has no gRPC port.
    pub fn add(&self, pod: &Service) {
        self.backends.lock().push(address(pod));
    }

    /// Removes a pod as an orchestrator does: it gets no new connections and keeps serving for a moment, so that
    /// pending ones arrive; then it receives SIGTERM and finishes its calls.
    ///
    /// # Panics
    /// If it does not end successfully and in time.
    pub async fn drain(&self, pod: &mut Service) {
        let gone = address(pod);
        self.backends.lock().retain(|one| *one != gone);
        // Connections are accepted in order: once a call on two later ones is answered, the earlier ones are served.
        for _ in 0..2 {
            let mut health = HealthClient::new(clients::channel(&gone.to_string()));
            health.check(HealthCheckRequest::default()).await.expect("it serves until SIGTERM");
        }
        let status = block_in_place(|| {
            pod.sigterm()?;
            pod.wait_exit(LIMIT)
        });
        let status = status.expect("its status is readable").expect("it ends in time");
        assert!(status.success(), "an orderly end of {}: {status}\n{}", pod.name(), pod.log_tail(20));
    }

    /// Connects to the next available pod.
    async fn connect(&self) -> Option<TcpStream> {
        let count = self.backends.lock().len();
        for _ in 0..count {
            if let Ok(server) = TcpStream::connect(self.next()?).await {
                return Some(server);
            }
        }
        None
    }

    fn next(&self) -> Option<SocketAddr> {
        let mut backends = self.backends.lock();
        let first = *backends.first()?;
        backends.rotate_left(1);
        Some(first)
    }
}

fn address(pod: &Service) -> SocketAddr {
    pod.spec.grpc.expect("a pod behind a balancer has a gRPC port")
}

async fn join(mut client: TcpStream, mut server: TcpStream) {
    // Send small messages at once (TCP_NODELAY).
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // Either side may break the connection at any time; its peer handles that.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
