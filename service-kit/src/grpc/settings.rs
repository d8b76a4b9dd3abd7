//! Settings of a gRPC port.
//!
//! Owns: their names and defaults. Must not know: who listens.
//! What can go wrong: see [`crate::config`].

use std::net::SocketAddr;
use std::time::Duration;

use super::tls::ServerTls;
use crate::config::Env;

/// Settings of a gRPC port.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `GRPC_LISTEN`: address of the port.
    pub listen: SocketAddr,
    /// `GRPC_TLS_CERT_FILE`, `GRPC_TLS_KEY_FILE`, `GRPC_TLS_CLIENT_CA_FILE`: without them the port is in clear.
    pub tls: Option<ServerTls>,
    /// `MAX_CONNECTION_AGE_SECONDS` (300): a connection of this age is asked to go, so that clients find new
    /// processes. Each connection gets up to a tenth more or less.
    pub max_connection_age: Duration,
    /// `MAX_CONNECTION_AGE_GRACE_SECONDS` (30): how long calls on an old connection may go on. Streams that are
    /// still open then are ended with UNAVAILABLE, and the connection is closed.
    pub max_connection_age_grace: Duration,
    /// `MAX_CONCURRENT_CALLS_PER_CONNECTION` (1024).
    pub max_concurrent_calls: u32,
    /// `MAX_REQUEST_BYTES` (4 MiB, as gRPC has it): largest request message. Pass it to `max_decoding_message_size` of every generated
    /// server.
    pub max_request_bytes: usize,
    /// `DEFAULT_DEADLINE_SECONDS` (30): deadline of calls that come without one. Streams have none.
    pub default_deadline: Duration,
    /// How often an idle connection is probed.
    pub keepalive_interval: Duration,
    /// How long a probe may stay unanswered before the connection is closed.
    pub keepalive_timeout: Duration,
}

impl Settings {
    /// Reads them; `listen` is the default of `GRPC_LISTEN`.
    pub fn read(env: &mut Env, listen: &str) -> Self {
        Self {
            listen: env.about("Address of the gRPC port.").parse_or("GRPC_LISTEN", listen),
            tls: ServerTls::read(env),
            max_connection_age: env
                .about("A connection of this age is asked to go, so that clients find new processes.")
                .seconds_or("MAX_CONNECTION_AGE_SECONDS", 300),
            max_connection_age_grace: env
                .about("How long calls on an old connection may go on; then open streams are ended and it is closed.")
                .seconds_or("MAX_CONNECTION_AGE_GRACE_SECONDS", 30),
            max_concurrent_calls: env
                .about("Most calls at a time on one connection; more of them wait at the client.")
                .number_or("MAX_CONCURRENT_CALLS_PER_CONNECTION", 1_024, 1..=100_000),
            max_request_bytes: env
                .about("Largest request message in bytes.")
                .number_or("MAX_REQUEST_BYTES", 4 << 20, 1_024..=64 << 20),
            default_deadline: env
                .about("Deadline of calls that come without one. Streams have none.")
                .seconds_or("DEFAULT_DEADLINE_SECONDS", 30),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}
