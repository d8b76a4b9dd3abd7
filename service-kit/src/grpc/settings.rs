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
    /// `GRPC_TLS_CERT_FILE`, `GRPC_TLS_KEY_FILE`, `GRPC_TLS_CLIENT_CA_FILE`; `None` for clear text.
    pub tls: Option<ServerTls>,
    /// `MAX_CONNECTION_AGE_SECONDS` (300), with a jitter of a tenth.
    pub max_connection_age: Duration,
    /// `MAX_CONNECTION_AGE_GRACE_SECONDS` (30). Streams still open after it end with UNAVAILABLE.
    pub max_connection_age_grace: Duration,
    /// `MAX_CONCURRENT_CALLS_PER_CONNECTION` (1024).
    pub max_concurrent_calls: u32,
    /// `MAX_REQUEST_BYTES` (4 MiB, gRPC's default): upper bound of the message limits of all methods.
    pub max_request_bytes: usize,
    /// `MAX_CONNECTIONS` (2000).
    pub max_connections: usize,
    /// `MAX_CALLS_IN_FLIGHT` (4096): calls under way in the process.
    pub max_calls: usize,
    /// `MAX_REQUEST_BYTES_IN_FLIGHT` (32 MiB): bytes of large requests under way in the process.
    pub max_request_bytes_in_flight: usize,
    /// `MAX_UNSENT_BYTES` (64 MiB): response bytes that wait for their clients.
    pub max_unsent_bytes: usize,
    /// `DEFAULT_DEADLINE_SECONDS` (30), at most 60: deadline of unary calls without `grpc-timeout`.
    pub default_deadline: Duration,
    /// Timeout of the start of HTTP/2 on a connection.
    pub preface_timeout: Duration,
    /// Timeout between two reads of a request.
    pub read_timeout: Duration,
    /// `RESPONSE_WRITE_TIMEOUT_SECONDS` (30): timeout of a client that takes none of a response; twice that for a whole
    /// message.
    pub write_timeout: Duration,
    /// Interval of the pings on an idle connection.
    pub keepalive_interval: Duration,
    /// Timeout of the answer to a ping.
    pub keepalive_timeout: Duration,
}

impl Settings {
    /// Reads them; `listen` is the default of `GRPC_LISTEN`.
    pub fn read(env: &mut Env, listen: &str) -> Self {
        Self {
            listen: env.about("Address of the gRPC port.").port_or("GRPC_LISTEN", listen),
            tls: ServerTls::read(env),
            max_connection_age: env
                .about(
                    "The server closes connections after this time (GOAWAY), so that clients rebalance to new pods.",
                )
                .seconds_or("MAX_CONNECTION_AGE_SECONDS", 300),
            max_connection_age_grace: env
                .about(
                    "How long calls on an old connection may continue. After that the server ends open streams and \
                     closes the connection.",
                )
                .seconds_or("MAX_CONNECTION_AGE_GRACE_SECONDS", 30),
            max_concurrent_calls: env
                .about("Maximum number of concurrent calls on one connection. Further calls wait at the client.")
                .number_or("MAX_CONCURRENT_CALLS_PER_CONNECTION", 1_024, 1..=100_000),
            max_request_bytes: env
                .about(
                    "Upper bound of the request message limits in bytes. Each method has its own limit, the largest \
                     4 MiB.",
                )
                .number_or("MAX_REQUEST_BYTES", 4 << 20, 1_024..=64 << 20),
            max_connections: env
                .about(
                    "Maximum number of open connections. Above it, the server closes the connection that has been \
                     idle the longest among those that never carried an admitted call; if there is none, among those \
                     without calls in progress of the caller that has the most connections (all callers without a \
                     token count as one); if there is none either, among those of callers without a token; else it \
                     refuses the new one. Needs as many file descriptors.",
                )
                .number_or("MAX_CONNECTIONS", 2_000, 10..=100_000),
            max_calls: env
                .about(
                    "Maximum number of calls in progress in this process. Further calls get RESOURCE_EXHAUSTED. One \
                     caller gets at most three quarters.",
                )
                .number_or("MAX_CALLS_IN_FLIGHT", 4_096, 16..=1_000_000),
            max_request_bytes_in_flight: env
                .about(
                    "Maximum number of bytes of request messages above 16 KiB in progress in this process. Further \
                     large requests get RESOURCE_EXHAUSTED. One caller gets at most three quarters.",
                )
                .number_or("MAX_REQUEST_BYTES_IN_FLIGHT", 32 << 20, 6 << 20..=8 << 30),
            max_unsent_bytes: env
                .about(
                    "Maximum number of response bytes in this process that clients have not read; one connection gets \
                     at most a quarter. Further responses are replaced by RESOURCE_EXHAUSTED.",
                )
                .number_or("MAX_UNSENT_BYTES", 64 << 20, 4 << 20..=8 << 30),
            default_deadline: env
                .about("Deadline of unary calls without grpc-timeout, at most 60. Streams have no default.")
                .seconds_or("DEFAULT_DEADLINE_SECONDS", 30),
            preface_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            write_timeout: env
                .about(
                    "The server resets a call whose client reads nothing of the response for this long, or does not \
                     read a whole message within twice this time.",
                )
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
