//! Settings of a gRPC port.

use std::net::SocketAddr;
use std::time::Duration;

use super::limits::Sizes;
use super::tls::ServerTls;

crate::declare_settings! {
    /// Settings of a gRPC port.
    pub struct Settings;
    /// Reads them; `listen` is the default of `GRPC_LISTEN`.
    pub fn read(env, listen: &str);

    /// Address of the gRPC port.
    listen: SocketAddr = env.port_or("GRPC_LISTEN", listen);
    /// Certificates; `None` for clear text.
    tls: Option<ServerTls> = ServerTls::read(env);
    /// The server closes connections after this time (GOAWAY), so that clients rebalance to new pods.
    // With a jitter of a tenth.
    max_connection_age: Duration = env.seconds_or("MAX_CONNECTION_AGE_SECONDS", 300);
    /// How long calls on an old connection may continue. After that the server ends open streams and closes the
    /// connection.
    max_connection_age_grace: Duration = env.seconds_or("MAX_CONNECTION_AGE_GRACE_SECONDS", 30);
    /// Maximum number of concurrent calls on one connection. Further calls wait at the client.
    max_concurrent_calls: u32 = env.number_or("MAX_CONCURRENT_CALLS_PER_CONNECTION", 1_024, 1..=100_000);
    /// Upper bound of the request message limits in bytes. Each method has its own limit, the largest 4 MiB.
    max_request_bytes: usize = env.number_or("MAX_REQUEST_BYTES", 4 << 20, 1_024..=64 << 20);
    /// Maximum number of open connections. Above it, the server closes the connection that has been idle the longest
    /// among those that never carried an admitted call; if there is none, among those without calls in progress of the
    /// caller that has the most connections (all callers without a token count as one); if there is none either, among
    /// those of callers without a token; else it refuses the new one. Needs as many file descriptors.
    max_connections: usize = env.number_or("MAX_CONNECTIONS", 2_000, 10..=100_000);
    /// Limits of all calls of the process.
    limits: Sizes = Sizes::read(env);
    /// Deadline of unary calls without grpc-timeout, at most 60. Streams have no default.
    default_deadline: Duration = env.seconds_or("DEFAULT_DEADLINE_SECONDS", 30);
    /// Timeout of the start of HTTP/2 on a connection.
    preface_timeout: Duration = Duration::from_secs(10);
    /// Timeout between two reads of a request.
    read_timeout: Duration = Duration::from_secs(10);
    /// The server resets a call whose client reads nothing of the response for this long, or does not read a whole
    /// message within twice this time.
    write_timeout: Duration = env.seconds_or("RESPONSE_WRITE_TIMEOUT_SECONDS", 30);
    /// Interval of the pings on an idle connection.
    keepalive_interval: Duration = Duration::from_secs(20);
    /// Timeout of the answer to a ping.
    keepalive_timeout: Duration = Duration::from_secs(10);
}
