//! Every metric of this crate, in one place. Labels come from closed sets; ids never become labels.

service_kit::declare_metrics! {
    /// Questions answered, by store.
    Counter(Count) READS = "query_reads_total" {
        question: "check", "relations", "counts", "list_followers", "list_following", "list_mutes", "list_blocks",
                  "list_requests_received", "list_requests_sent", "list_followers_seen", "list_following_seen",
                  "sift", "known", "list_at", "union", "suggest";
        source: "neo4j", "postgres", "memory"
    };
    /// Reads that fell back to PostgreSQL, by reason.
    Counter(Count) FALLBACKS = "query_fallbacks_total" {
        reason: "asked", "configured", "down", "not_built", "not_complete", "stale", "other_history", "behind", "epoch",
                "not_exact", "slow", "failed"
    };
    /// Reads that were rejected, by reason.
    Counter(Count) REFUSALS = "query_refusals_total" {
        reason: "epoch_changed", "token_ahead", "budget_rate", "budget_share", "budget_concurrency", "unavailable",
                "behind", "busy", "busy_share", "ruled_out", "deadline"
    };
    /// Reads of the older API whose answer is older than the call, because no store reached its revision in time.
    Counter(Count) LEGACY_OLDER = "query_legacy_older_answers_total";
    /// Reads of the older API without a token that `LEGACY_READS=token` would accept.
    Counter(Count) LEGACY_ANONYMOUS = "query_legacy_anonymous_reads_total";
    /// Page and resume tokens read, by the position of their key in `PAGE_TOKEN_KEYS`, from 0.
    Counter(Count) PAGE_TOKENS = "query_page_tokens_read_total" { position };
    /// Time of one question to one store.
    Histogram(Seconds) SECONDS = "query_store_seconds" {
        question: "check", "relations", "counts", "list_followers", "list_following", "list_mutes", "list_blocks",
                  "list_requests_received", "list_requests_sent", "list_followers_seen", "list_following_seen",
                  "sift", "known", "list_at", "union", "suggest";
        source: "neo4j", "postgres";
        outcome: "ok", "timeout", "not_ready", "busy", "error"
    };
    /// Time that reads waited until a read model, or the events that the process has read, reached their token.
    Histogram(Seconds) FRESHNESS_WAIT = "query_freshness_wait_seconds";
    /// Time that reads waited for one of the connections to a Neo4j.
    Histogram(Seconds) NEO4J_QUEUE = "query_neo4j_queue_seconds";
    /// 1 while query-service reads from the store.
    Gauge(Switch) SERVING = "query_store_serving" { store: "neo4j", "postgres" };
    /// Times that the circuit breaker of a store opened, by cause.
    Counter(Count) BREAKER_OPENED = "query_breaker_opened_total" {
        store: "neo4j", "postgres";
        replica;
        cause: "not_reached_yet", "unreachable", "failing"
    };
    /// Cost units left in the fallback budget.
    Gauge(Count) BUDGET_LEFT = "query_fallback_budget_left";
    /// 1 while query-service reads from this replica.
    Gauge(Switch) REPLICA_SERVING = "query_replica_serving" { replica };
    /// Reads sent to a replica of the read model, by outcome.
    Counter(Count) REPLICA_ANSWERS = "query_replica_answers_total" {
        replica;
        outcome: "ok", "timeout", "not_ready", "busy", "error"
    };
    /// Reads retried at another replica of the read model, by reason.
    Counter(Count) REPLICA_RETRIES = "query_replica_retries_total" {
        reason: "not_built", "not_complete", "stale", "other_history", "behind", "not_exact", "slow", "busy",
                "failed"
    };
    /// Newest revision that a replica of the read model is known to show.
    Gauge(Revisions) REPLICA_REVISION = "query_replica_revision" { replica };
    /// Revisions that a replica of the read model is behind the newest head heard of.
    Gauge(Revisions) REPLICA_LAG = "query_replica_lag_revisions" { replica };
    /// Age of the oldest head that a replica of the read model has not reached.
    Gauge(Seconds) REPLICA_STALENESS = "query_replica_staleness_seconds" { replica };
    /// Exports refused: all places are taken, or the caller has its share while another one waits.
    Counter(Count) EXPORTS_REFUSED = "query_exports_refused_total" { cause: "full", "share" };
    /// Edges exported.
    Counter(Count) EXPORTED = "query_exported_edges_total";
    /// Signals on core NATS that could not be read.
    Counter(Count) BAD_SIGNALS = "query_unreadable_signals_total" { subject: "beacon", "projector" };
    /// Revision up to which the recent events are known.
    Gauge(Revisions) RING_REVISION = "query_ring_revision";
    /// Recent events held.
    Gauge(Count) RING_EVENTS = "query_ring_events";
    /// Memory of the recent events held, about.
    Gauge(Bytes) RING_BYTES = "query_ring_bytes";
    /// Time from the oldest to the newest of the recent events held: read models may lag by this much.
    Gauge(Seconds) RING_SPAN = "query_ring_span_seconds";
    /// Answers that are kept in memory (HOT_SET_BYTES).
    Gauge(Count) HOT_ENTRIES = "query_hot_set_entries";
    /// Memory of the answers that are kept in memory, and of their table.
    Gauge(Bytes) HOT_BYTES = "query_hot_set_bytes";
    /// Loads of answers into memory, by outcome. `refused`: the replica was repaired meanwhile, or memory holds as much;
    /// `ahead`: the load may hold events that this process has not read; `too_old`, `too_many_changes`: the recent events
    /// do not reach back to it, or hold too many changes of its account; `no_generation`: a repair was under way, or the
    /// projector is of an older version; `queue_full`: too many loads waited.
    Counter(Count) HOT_LOADS = "query_hot_set_loads_total" {
        outcome: "installed", "refused", "ahead", "too_old", "too_many_changes", "too_large", "failed",
                 "no_generation", "queue_full"
    };
    /// 1 while answers that were loaded from the replica are valid: its projector maintains the generation of repairs.
    Gauge(Switch) HOT_VALID = "query_hot_set_valid" { replica };
    /// Answers that left memory to make room for others.
    Counter(Count) HOT_EVICTED = "query_hot_set_evicted_total";
    /// Answers in memory that an event contradicted. They were wrong, and were dropped.
    Counter(Count) HOT_DIFFERENCES = "query_hot_set_differences_total";
    /// Events that came from the outbox, because the stream did not give them.
    Counter(Count) FEED_OUTBOX = "query_feed_outbox_events_total";
    /// Times that reading the stream ended, by cause.
    Counter(Count) FEED_REBUILDS = "query_feed_stream_ended_total" {
        cause: "disconnected", "stream", "consumer", "timeout", "gap", "behind", "stall", "redelivery",
               "foreign"
    };
    /// Times that the recent events were dropped and reloaded, by cause.
    Counter(Count) FEED_RESTARTS = "query_feed_restarts_total" {
        cause: "pruned", "contradicted", "epoch", "unreadable", "died"
    };
    /// Answers of the read model, by what became of them.
    Counter(Count) OVERLAID = "query_overlaid_answers_total" {
        outcome: "changed", "confirmed", "as_it_is", "not_exact"
    };
    /// Recent events that changed an answer.
    Histogram(Count) OVERLAID_EVENTS = "query_overlaid_events";
    /// Time that answers waited for this process to have read the events that may be in them.
    Histogram(Seconds) OVERLAY_WAIT = "query_overlay_wait_seconds";
    /// Reads over several hops that were repeated because what they depend on changed meanwhile.
    Counter(Count) OVERLAY_REPEATS = "query_overlay_repeats_total";
    /// Items of a shared statement.
    Histogram(Count) SHARED_ITEMS = "query_shared_statement_items" { question };
    /// Questions that share a statement.
    Histogram(Count) SHARED_QUESTIONS = "query_shared_statement_questions" { question };
    /// Open watches.
    Gauge(Count) WATCHES = "query_watches";
    /// Watches refused: all places are taken, or the caller has its share while another one waits.
    Counter(Count) WATCHES_REFUSED = "query_watches_refused_total" { cause: "full", "share" };
    /// Events sent to watchers.
    Counter(Count) WATCHED = "query_watched_events_total";
    /// Watches ended, by reason.
    Counter(Count) WATCHES_ENDED = "query_watches_ended_total" {
        reason: "gone", "too_slow", "shutting_down", "epoch", "pruned", "contradicted", "unreadable",
                "died"
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_name_keeps_the_rules() {
        super::ALL.iter().for_each(|metric| assert!(metric.mistakes().is_empty(), "{:?}", metric.mistakes()));
    }
}
