//! Settings of a gRPC port.

use std::net::SocketAddr;
use std::time::Duration;

use super::limits::Sizes;
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
    /// `MAX_REQUEST_BYTES` (4 MiB, as gRPC has it): upper bound of the message limits of all methods.
    pub max_request_bytes: usize,
    /// `MAX_CONNECTIONS` (2000): above it, the longest idle one that never carried an authorized call makes room, else
    /// an idle one of the caller that has the most.
    pub max_connections: usize,
    /// `MAX_CALLS_IN_FLIGHT` (4096): calls under way in the process.
    pub max_calls: usize,
    /// `MAX_REQUEST_BYTES_IN_FLIGHT` (32 MiB): bytes of large requests under way in the process.
    pub max_request_bytes_in_flight: usize,
    /// `MAX_UNSENT_BYTES` (64 MiB): response bytes that wait for their clients.
    pub max_unsent_bytes: usize,
    /// `DEFAULT_DEADLINE_SECONDS` (30): deadline of calls that come without one, 60 at most. Streams have none.
    pub default_deadline: Duration,
    /// How long a connection may take to begin HTTP/2.
    pub preface_timeout: Duration,
    /// How long a request may stop arriving.
    pub read_timeout: Duration,
    /// `RESPONSE_WRITE_TIMEOUT_SECONDS` (30): how long a client may take none of a response; twice that for all of a
    /// message.
    pub write_timeout: Duration,
    /// How often an idle connection is probed.
    pub keepalive_interval: Duration,
    /// How long a probe may stay unanswered before the connection is closed.
    pub keepalive_timeout: Duration,
}

impl Settings {
    /// Reads them; `listen` is the default of `GRPC_LISTEN`.
    pub fn read(env: &mut Env, listen: &str) -> Self {
        Self {
            listen: env.about("Address of the gRPC port.").port_or("GRPC_LISTEN", listen),
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
                .about("Upper bound of the request message limits in bytes. Each method has a limit of its own, the largest 4 MiB.")
                .number_or("MAX_REQUEST_BYTES", 4 << 20, 1_024..=64 << 20),
            max_connections: env
                .about("Maximum number of open connections. Above it, the server closes the connection that has been idle the longest among those that never carried a call that was let in; if there is none, among those without calls in progress of the caller that has the most connections (all callers without a token count as one); if there is none either, among those of callers without a token; else it refuses the new one. Needs as many file descriptors.")
                .number_or("MAX_CONNECTIONS", 2_000, 10..=100_000),
            max_calls: env
                .about("Maximum number of calls in progress in this process. Further calls get RESOURCE_EXHAUSTED. One caller gets at most three quarters.")
                .number_or("MAX_CALLS_IN_FLIGHT", 4_096, 16..=1_000_000),
            max_request_bytes_in_flight: env
                .about("Maximum number of bytes of request messages above 16 KiB in progress in this process. Further large requests get RESOURCE_EXHAUSTED. One caller gets at most three quarters.")
                .number_or("MAX_REQUEST_BYTES_IN_FLIGHT", 32 << 20, 6 << 20..=8 << 30),
            max_unsent_bytes: env
                .about("Maximum number of response bytes that wait for clients to take them, in this process; a quarter of it on one connection. Further responses are replaced by RESOURCE_EXHAUSTED.")
                .number_or("MAX_UNSENT_BYTES", 64 << 20, 4 << 20..=8 << 30),
            default_deadline: env
                .about("Deadline of calls that come without one, 60 at most. Streams have none.")
                .seconds_or("DEFAULT_DEADLINE_SECONDS", 30),
            preface_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            write_timeout: env
                .about("The server resets a call whose client takes none of the response for this long, or does not take a whole message within twice this time.")
                .seconds_or("RESPONSE_WRITE_TIMEOUT_SECONDS", 30),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
        }
    }

    pub(super) fn limits(&self) -> Sizes {
        Sizes {
            calls: self.max_calls,
            request_bytes: self.max_request_bytes_in_flight,
            unsent: self.max_unsent_bytes,
        }
    }
}
