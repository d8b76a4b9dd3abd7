//! Every metric of this crate, in one place.
//!
//! Owns: names, descriptions and labels. Labels come from closed sets; ids never become labels.
//! Must not know: how the metrics leave the process.
//! What can go wrong: a metric recorded before the telemetry is set up is lost.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Questions answered; labels `question`, `source`.
pub const READS: &str = "query_reads_total";
/// Questions passed on to PostgreSQL; label `reason`.
pub const FALLBACKS: &str = "query_fallbacks_total";
/// Questions refused; label `reason`.
pub const REFUSALS: &str = "query_refusals_total";
/// Time of one question to one store; labels `question`, `source`, `outcome`.
pub const SECONDS: &str = "query_store_seconds";
/// Time that questions waited for the read model to reach their token.
pub const FRESHNESS_WAIT: &str = "query_freshness_wait_seconds";
/// 1 while the store is asked; label `store`.
pub const SERVING: &str = "query_store_serving";
/// Times that a store was given up; labels `store`, `replica` (empty for PostgreSQL), `cause`.
pub const BREAKER_OPENED: &str = "query_breaker_opened_total";
/// Cells left in the fallback budget.
pub const BUDGET_LEFT: &str = "query_fallback_budget_left";
/// 1 while this replica of the read model is asked; label `replica`.
pub const REPLICA_SERVING: &str = "query_replica_serving";
/// Questions put to a replica of the read model; labels `replica`, `outcome`.
pub const REPLICA_ANSWERS: &str = "query_replica_answers_total";
/// Questions put to another replica of the read model, because one gave no answer; label `reason`.
pub const REPLICA_RETRIES: &str = "query_replica_retries_total";
/// Revisions that a replica of the read model is behind the newest head heard of; label `replica`.
pub const REPLICA_LAG: &str = "query_replica_lag_revisions";
/// Age of the oldest head that a replica of the read model has not reached; label `replica`.
pub const REPLICA_STALENESS: &str = "query_replica_staleness_seconds";
/// Edges exported.
pub const EXPORTED: &str = "query_exported_edges_total";
/// Signals on core NATS that could not be read; label `subject`.
pub const BAD_SIGNALS: &str = "query_unreadable_signals_total";
/// Revision up to which the recent events are known.
pub const RING_REVISION: &str = "query_ring_revision";
/// Recent events held.
pub const RING_EVENTS: &str = "query_ring_events";
/// Bytes of the recent events held, about.
pub const RING_BYTES: &str = "query_ring_bytes";
/// Time from the oldest to the newest of the recent events held.
pub const RING_SPAN: &str = "query_ring_span_seconds";
/// Events that came from the outbox, because the stream did not give them.
pub const FEED_OUTBOX: &str = "query_feed_outbox_events_total";
/// Times that reading the stream ended; label `cause`.
pub const FEED_REBUILDS: &str = "query_feed_stream_ended_total";
/// Times that the recent events were dropped and begun anew; label `cause`.
pub const FEED_RESTARTS: &str = "query_feed_restarts_total";
/// Answers of the read model, by what became of them; label `outcome`.
pub const OVERLAID: &str = "query_overlaid_answers_total";
/// Recent events that changed an answer.
pub const OVERLAID_EVENTS: &str = "query_overlaid_events";
/// Time that answers waited for this process to have read the events that may be in them.
pub const OVERLAY_WAIT: &str = "query_overlay_wait_seconds";
/// Items of a shared statement; label `question`.
pub const SHARED_ITEMS: &str = "query_shared_statement_items";
/// Questions that share a statement; label `question`.
pub const SHARED_QUESTIONS: &str = "query_shared_statement_questions";
/// Open watches.
pub const WATCHES: &str = "query_watches";
/// Events sent to watchers.
pub const WATCHED: &str = "query_watched_events_total";
/// Watches ended by this service; label `reason`.
pub const WATCHES_ENDED: &str = "query_watches_ended_total";

/// Describes all of them; call it once, after the telemetry is set up.
pub fn describe() {
    describe_counter!(READS, "Questions answered, by store.");
    describe_counter!(FALLBACKS, "Questions passed on to PostgreSQL, by reason.");
    describe_counter!(REFUSALS, "Questions that no store was allowed or able to answer, by reason.");
    describe_histogram!(SECONDS, Unit::Seconds, "Time of one question to one store.");
    describe_histogram!(
        FRESHNESS_WAIT,
        Unit::Seconds,
        "Time that questions waited for the read model to reach their token."
    );
    describe_gauge!(SERVING, "1 while the store is asked for answers.");
    describe_counter!(BREAKER_OPENED, "Times that a store was given up, by cause.");
    describe_gauge!(BUDGET_LEFT, "Cells left in the fallback budget.");
    describe_gauge!(REPLICA_SERVING, "1 while this replica of the read model is asked for answers.");
    describe_counter!(REPLICA_ANSWERS, "Questions put to a replica of the read model, by outcome.");
    describe_counter!(
        REPLICA_RETRIES,
        "Questions put to another replica of the read model, because one gave no answer."
    );
    describe_gauge!(REPLICA_LAG, "Revisions that a replica is behind the newest head heard of.");
    describe_gauge!(
        REPLICA_STALENESS,
        Unit::Seconds,
        "Age of the oldest head that a replica has not reached."
    );
    describe_counter!(EXPORTED, "Edges exported.");
    describe_counter!(BAD_SIGNALS, "Signals on core NATS that could not be read.");
    describe_gauge!(RING_REVISION, "Revision up to which the recent events are known.");
    describe_gauge!(RING_EVENTS, "Recent events held.");
    describe_gauge!(RING_BYTES, Unit::Bytes, "Memory of the recent events held, about.");
    describe_gauge!(
        RING_SPAN,
        Unit::Seconds,
        "Time from the oldest to the newest of the recent events held: a read model may lag so much."
    );
    describe_counter!(FEED_OUTBOX, "Events that came from the outbox, because the stream did not give them.");
    describe_counter!(FEED_REBUILDS, "Times that reading the stream ended, by cause.");
    describe_counter!(FEED_RESTARTS, "Times that the recent events were dropped and begun anew, by cause.");
    describe_counter!(OVERLAID, "Answers of the read model, by what became of them.");
    describe_histogram!(OVERLAID_EVENTS, "Recent events that changed an answer.");
    describe_histogram!(
        OVERLAY_WAIT,
        Unit::Seconds,
        "Time that answers waited for this process to have read the events that may be in them."
    );
    describe_histogram!(SHARED_ITEMS, Unit::Count, "Items of a shared statement.");
    describe_histogram!(SHARED_QUESTIONS, Unit::Count, "Questions that share a statement.");
    describe_gauge!(WATCHES, "Open watches.");
    describe_counter!(WATCHED, "Events sent to watchers.");
    describe_counter!(WATCHES_ENDED, "Watches ended by this service, by reason.");
}
