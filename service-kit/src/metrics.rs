//! Every metric of this crate, in one place.
//!
//! Owns: names, descriptions and labels. Labels come from closed sets; ids never become labels.
//! Must not know: how the metrics leave the process.
//! What can go wrong: a metric recorded before [`crate::telemetry::init`] is lost.

crate::declare_metrics! {
    /// Always 1; the labels tell what runs.
    Gauge(Switch) BUILD_INFO = "build_info" { service; version; revision };
    /// 1 while the process is ready.
    Gauge(Switch) READY = "process_ready";
    /// 1 while this readiness check passes.
    Gauge(Switch) READY_CHECK = "process_ready_check" { check };
    /// Background tasks that ended or died alone.
    Counter(Count) TASK_FAILURES = "process_task_failures_total" { task };

    /// Calls started on the server.
    Counter(Count) GRPC_STARTED = "grpc_server_started_total" { grpc_service; grpc_method; grpc_type };
    /// Calls completed on the server, whatever the outcome.
    Counter(Count) GRPC_HANDLED = "grpc_server_handled_total" { grpc_service; grpc_method; grpc_type; grpc_code };
    /// Time that calls took on the server, from the first byte to the last, streams included.
    Histogram(Seconds) GRPC_SECONDS = "grpc_server_handling_seconds" { grpc_service; grpc_method; grpc_type };
    /// Handlers that panicked; their calls were answered with INTERNAL.
    Counter(Count) GRPC_PANICS = "grpc_server_panics_total" { grpc_service; grpc_method; grpc_type };
    /// Open gRPC connections.
    Gauge(Count) GRPC_CONNECTIONS = "grpc_server_connections";
    /// Requests without a known token or the needed scope.
    Counter(Count) AUTH_REFUSED = "auth_refused_total" { cause: "missing", "unknown", "scope" };

    /// Connections of the PostgreSQL pool by state.
    Gauge(Count) POOL_CONNECTIONS = "db_pool_connections" { pool; state: "idle", "used" };
    /// Most connections that the PostgreSQL pool opens.
    Gauge(Count) POOL_MAX = "db_pool_connections_max" { pool };
    /// Time waited for a pooled PostgreSQL connection.
    Histogram(Seconds) POOL_WAIT = "db_pool_wait_seconds";
    /// Waits for a pooled PostgreSQL connection that failed.
    Counter(Count) POOL_FAILURES = "db_pool_wait_failures_total";

    /// 1 while connected to NATS.
    Gauge(Switch) NATS_CONNECTED = "nats_connected";
    /// Events of the NATS connection.
    Counter(Count) NATS_EVENTS = "nats_connection_events_total" {
        event: "connected", "disconnected", "closed", "lame_duck", "draining", "slow_consumer", "server_error",
               "client_error"
    };

    /// Neo4j exchanges under way, abandoned ones included.
    Gauge(Count) NEO4J_RUNNING = "neo4j_exchanges_running";
    /// Neo4j exchanges whose caller stopped waiting; each went on by itself.
    Counter(Count) NEO4J_TIMEOUTS = "neo4j_exchange_timeouts_total";
}

/// What every process tells of itself; the names are given by the library that looks them up.
pub mod of_the_process {
    crate::declare_metrics! {
        /// Processor time used.
        Counter(Seconds) CPU_SECONDS = "process_cpu_seconds_total";
        /// Memory in use.
        Gauge(Bytes) RESIDENT_BYTES = "process_resident_memory_bytes";
        /// Address space in use.
        Gauge(Bytes) VIRTUAL_BYTES = "process_virtual_memory_bytes";
        /// Largest address space allowed.
        Gauge(Bytes) VIRTUAL_MAX_BYTES = "process_virtual_memory_max_bytes";
        /// Open files and sockets.
        Gauge(Count) OPEN_FDS = "process_open_fds";
        /// Most of them allowed.
        Gauge(Count) MAX_FDS = "process_max_fds";
        /// Threads.
        Gauge(Count) THREADS = "process_threads";
        /// When it started, in seconds since 1970.
        Gauge(Seconds) STARTED = "process_start_time_seconds";
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_name_keeps_the_rules() {
        for metric in super::ALL.iter().chain(super::of_the_process::ALL) {
            assert!(metric.mistakes().is_empty(), "{:?}", metric.mistakes());
        }
    }
}
