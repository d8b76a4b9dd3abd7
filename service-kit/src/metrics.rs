//! Every metric of this crate. Labels come from closed sets; ids never become labels.
//!
//! A metric recorded before [`crate::telemetry::init`] is lost.

crate::declare_metrics! {
    /// Always 1; the labels name the running program.
    Gauge(Switch) BUILD_INFO = "build_info" { service; version; revision };
    /// 1 while the process is ready.
    Gauge(Switch) READY = "process_ready";
    /// 1 while this readiness check passes.
    Gauge(Switch) READY_CHECK = "process_ready_check" { check };
    /// Background tasks that ended or failed before the process stopped.
    Counter(Count) TASK_FAILURES = "process_task_failures_total" { task };

    /// Calls started on the server.
    Counter(Count) GRPC_STARTED = "grpc_server_started_total" { grpc_service; grpc_method; grpc_type };
    /// Calls completed on the server, with any outcome. A call that failed because of its client counts as `Canceled`:
    /// the request stopped arriving or broke off, or the deadline that the client set was below 100 ms.
    Counter(Count) GRPC_HANDLED = "grpc_server_handled_total" { grpc_service; grpc_method; grpc_type; grpc_code };
    /// Time that calls took on the server, from the first byte to the last, streams included.
    Histogram(Seconds) GRPC_SECONDS = "grpc_server_handling_seconds" { grpc_service; grpc_method; grpc_type };
    /// Handlers that panicked; their calls were answered with INTERNAL.
    Counter(Count) GRPC_PANICS = "grpc_server_panics_total" { grpc_service; grpc_method; grpc_type };
    /// Open gRPC connections.
    Gauge(Count) GRPC_CONNECTIONS = "grpc_server_connections";
    /// Calls completed on the server by caller: a name of `AUTH_TOKENS`, `token-N`, `internal`, or `none`.
    Counter(Count) CALLS_BY_CALLER = "grpc_server_calls_by_caller_total" { caller; grpc_code };
    /// Connections that the server refused or closed, by cause: above `MAX_CONNECTIONS` and none could make room
    /// (`full`), closed for a new one (`room`: it never carried a call with a token; `room_of_caller`: its caller had
    /// the most connections), no HTTP/2 preface in time (`no_preface`), responses not taken (`not_taken`).
    Counter(Count) GRPC_CONNECTIONS_CLOSED = "grpc_server_connections_closed_total" {
        cause: "full", "room", "room_of_caller", "no_preface", "not_taken"
    };
    /// Calls refused to protect the process, by the limit that was reached.
    Counter(Count) GRPC_CALLS_REFUSED = "grpc_server_calls_refused_total" {
        cause: "calls", "probes", "open_streams", "request_bytes", "unsent_connection", "unsent_process"
    };
    /// Calls ended because the peer stopped sending the request or stopped taking the response.
    Counter(Count) GRPC_CALLS_STALLED = "grpc_server_calls_stalled_total" { direction: "request", "response" };
    /// Calls under way that count for `MAX_CALLS_IN_FLIGHT`.
    Gauge(Count) GRPC_CALLS_IN_FLIGHT = "grpc_server_calls_in_flight";
    /// Bytes of large requests under way; they count for `MAX_REQUEST_BYTES_IN_FLIGHT`.
    Gauge(Bytes) GRPC_REQUEST_BYTES = "grpc_server_requests_in_flight_bytes";
    /// Response bytes that peers have not taken yet; they count for `MAX_UNSENT_BYTES`.
    Gauge(Bytes) GRPC_UNSENT_BYTES = "grpc_server_unsent_bytes";
    /// Requests without a known token or the required scope, and those that a setting disables (`disabled`).
    Counter(Count) AUTH_REFUSED = "auth_refused_total" { cause: "missing", "unknown", "scope", "disabled" };
    /// Requests accepted with a token, by the setting of the token and its position there, from 0. While the old token
    /// of a rotation still counts, a client uses it.
    Counter(Count) AUTH_ACCEPTED = "auth_accepted_total" { setting; position };

    /// Connections of the PostgreSQL pool by state.
    Gauge(Count) POOL_CONNECTIONS = "db_pool_connections" { pool; state: "idle", "used" };
    /// Maximum size of the PostgreSQL pool.
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

    /// Batches of spans that the trace collector did not accept.
    Counter(Count) TRACE_EXPORTS_FAILED = "trace_exports_failed_total";

    /// Neo4j exchanges under way, including abandoned ones.
    Gauge(Count) NEO4J_RUNNING = "neo4j_exchanges_running";
    /// Neo4j exchanges that exceeded their timeout; each continued without its caller.
    Counter(Count) NEO4J_TIMEOUTS = "neo4j_exchange_timeouts_total";
}

/// Metrics of the operating system's process. The library that reads them defines the names.
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
        /// Limit of open files and sockets.
        Gauge(Count) MAX_FDS = "process_max_fds";
        /// Threads.
        Gauge(Count) THREADS = "process_threads";
        /// Unix time of the start.
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
