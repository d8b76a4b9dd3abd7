//! Every metric of this crate, in one place.
//!
//! Owns: names, descriptions and labels. Labels come from closed sets; ids never become labels.
//! Must not know: how the metrics leave the process.
//! What can go wrong: a metric recorded before [`crate::telemetry::init`] is lost.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Always 1; labels `service`, `version`, `revision`.
pub const BUILD_INFO: &str = "build_info";
/// 1 while the process is ready.
pub const READY: &str = "process_ready";
/// 1 while the check of label `check` passes.
pub const READY_CHECK: &str = "process_ready_check";
/// Tasks that died alone; label `task`.
pub const TASK_FAILURES: &str = "process_task_failures_total";

/// Calls started; labels `grpc_service`, `grpc_method`, `grpc_type`.
pub const GRPC_STARTED: &str = "grpc_server_started_total";
/// Calls finished; labels as above and `grpc_code`.
pub const GRPC_HANDLED: &str = "grpc_server_handled_total";
/// Time from the first byte of a call to its last; labels as for started calls.
pub const GRPC_SECONDS: &str = "grpc_server_handling_seconds";
/// Handlers that panicked; labels as for started calls.
pub const GRPC_PANICS: &str = "grpc_server_panics_total";
/// Open connections.
pub const GRPC_CONNECTIONS: &str = "grpc_server_connections";
/// Requests refused for want of a valid token or scope; label `cause`.
pub const AUTH_REFUSED: &str = "auth_refused_total";

/// Connections of the PostgreSQL pool; labels `pool`, `state` (`idle`, `used`).
pub const POOL_CONNECTIONS: &str = "db_pool_connections";
/// Most connections that the pool opens; label `pool`.
pub const POOL_MAX: &str = "db_pool_connections_max";
/// Time waited for a pooled connection.
pub const POOL_WAIT: &str = "db_pool_wait_seconds";
/// Waits for a pooled connection that failed.
pub const POOL_FAILURES: &str = "db_pool_wait_failures_total";

/// 1 while connected to NATS.
pub const NATS_CONNECTED: &str = "nats_connected";
/// Events of the NATS connection; label `event`.
pub const NATS_EVENTS: &str = "nats_connection_events_total";

/// Neo4j exchanges under way, those whose caller has gone included.
pub const NEO4J_RUNNING: &str = "neo4j_exchanges_running";
/// Neo4j exchanges whose caller stopped waiting.
pub const NEO4J_TIMEOUTS: &str = "neo4j_exchange_timeouts_total";

/// Describes all of them. Called once by [`crate::telemetry::init`].
pub fn describe() {
    describe_gauge!(BUILD_INFO, "Always 1; the labels tell what runs.");
    describe_gauge!(READY, "1 while the process is ready.");
    describe_gauge!(READY_CHECK, "1 while this readiness check passes.");
    describe_counter!(TASK_FAILURES, "Background tasks that ended or died alone.");

    describe_counter!(GRPC_STARTED, "Calls started on the server.");
    describe_counter!(GRPC_HANDLED, "Calls completed on the server, whatever the outcome.");
    describe_histogram!(GRPC_SECONDS, Unit::Seconds, "Time that calls took on the server, streams included.");
    describe_counter!(GRPC_PANICS, "Handlers that panicked; their calls were answered with INTERNAL.");
    describe_gauge!(GRPC_CONNECTIONS, "Open gRPC connections.");
    describe_counter!(AUTH_REFUSED, "Requests without a known token or the needed scope.");

    describe_gauge!(POOL_CONNECTIONS, "Connections of the PostgreSQL pool by state.");
    describe_gauge!(POOL_MAX, "Most connections that the PostgreSQL pool opens.");
    describe_histogram!(POOL_WAIT, Unit::Seconds, "Time waited for a pooled PostgreSQL connection.");
    describe_counter!(POOL_FAILURES, "Waits for a pooled PostgreSQL connection that failed.");

    describe_gauge!(NATS_CONNECTED, "1 while connected to NATS.");
    describe_counter!(NATS_EVENTS, "Events of the NATS connection.");

    describe_gauge!(NEO4J_RUNNING, "Neo4j exchanges under way, abandoned ones included.");
    describe_counter!(
        NEO4J_TIMEOUTS,
        "Neo4j exchanges whose caller stopped waiting; each went on by itself."
    );
}
