//! Every metric of this crate. Labels come from closed sets.

service_kit::declare_metrics! {
    /// Events applied to the read model.
    Counter(Count) EVENTS = "projector_events_applied_total";
    /// Edge changes written to the read model.
    Counter(Count) CHANGES = "projector_edge_changes_total" { op: "create", "put", "delete" };
    /// Limit of the edge changes of the next batch. Below 2000 after Neo4j failed to write a larger batch.
    Gauge(Count) BATCH_LIMIT = "projector_batch_limit";
    /// Nodes of accounts without edges that were removed.
    Counter(Count) ACCOUNTS_REMOVED = "projector_accounts_removed_total" { cause: "erased", "unused" };
    /// Edges changed by one batch, netted.
    Histogram(Count) BATCH_EDGES = "projector_batch_edges";
    /// Time of one batch's transaction.
    Histogram(Seconds) APPLY_SECONDS = "projector_apply_seconds";
    /// Time of the transaction that publishes `visible` and `target`.
    Histogram(Seconds) PUBLISH_SECONDS = "projector_publish_seconds";
    /// Time from commit in PostgreSQL to visible in the read model, of every event.
    Histogram(Seconds) LAG_SECONDS = "projector_lag_seconds";
    /// How many revisions the read model is behind the head.
    Gauge(Revisions) LAG_REVISIONS = "projector_lag_revisions";
    /// Newest revision that all readers see.
    Gauge(Revisions) VISIBLE = "projector_visible_revision";
    /// Newest revision known to be committed.
    Gauge(Revisions) HEAD = "projector_head_revision";
    /// 1 if every range was swept since the read model was built.
    Gauge(Switch) COMPLETE = "projector_complete";
    /// Sessions with the read model that ended and were opened again.
    Counter(Count) RETRIES = "projector_session_retries_total" {
        cause: "neo4j", "postgres", "schema", "session", "foreign", "wiped", "moved", "ahead", "feed", "pruned",
               "contradicted", "epoch"
    };
    /// Times the checkpoint was set to the head and the sweep began again.
    Counter(Count) RESETS = "projector_resets_total" { cause: "pruned", "contradicted", "epoch", "database" };

    /// Stream consumers that were created again.
    Counter(Count) REBUILDS = "projector_consumer_rebuilds_total" {
        cause: "disconnected", "stream", "consumer", "timeout", "gap", "behind", "redelivery", "stall", "foreign"
    };
    /// Stream messages below the expected revision, skipped.
    Counter(Count) REDELIVERIES = "projector_redeliveries_total";
    /// Stream messages that are not the event of their revision.
    Counter(Count) FOREIGN = "projector_foreign_messages_total";
    /// Events read from the outbox instead of the stream.
    Counter(Count) OUTBOX_EVENTS = "projector_outbox_events_total";
    /// How many revisions the stream is behind the read model; above zero it has lost its tail.
    Gauge(Revisions) STREAM_BEHIND = "projector_stream_behind_revisions";

    /// Ranges compared by the sweep.
    Counter(Count) RANGES = "projector_sweep_tiles_total" { kind: "follow", "mute", "block", "request" };
    /// Edges read from PostgreSQL for comparison.
    Counter(Count) RANGE_ROWS = "projector_sweep_rows_total" { kind: "follow", "mute", "block", "request" };
    /// Edges that a sweep found wrong in a complete read model and repaired; must be 0.
    Counter(Count) DIFFERENCES = "projector_sweep_differences_total" {
        cause: "missing", "extra", "different", "misplaced"
    };
    /// Accounts that the sweep could not search; it tries again in its next pass.
    Counter(Count) SKIPPED = "projector_sweep_accounts_skipped_total";
    /// Complete passes over all edges.
    Counter(Count) PASSES = "projector_sweep_passes_total";
    /// Progress of the pass under way.
    Gauge(Ratio) PROGRESS = "projector_sweep_progress";
    /// Time from the snapshot of a range to its repair.
    Histogram(Seconds) RANGE_SECONDS = "projector_sweep_tile_seconds";
    /// Edges of accounts in the read model against their counts in PostgreSQL: the sum of the differences of all ranges
    /// of accounts, each at one revision, in the last pass of the sweep; must be 0.
    Gauge(Count) COUNTS_DIFFERENCE = "projector_counts_difference" { kind: "follow", "mute", "block", "request" };
    /// Comparisons of the counts.
    Counter(Count) COUNTS_COMPARED = "projector_counts_compared_total";
    /// Unix time of the last comparison of the counts; of the start, before the first.
    Gauge(Seconds) COUNTS_COMPARED_AT = "projector_counts_compared_timestamp_seconds";
    /// Passes of the sweep that could not compare the counts, because PostgreSQL did not answer in time.
    Counter(Count) COUNTS_SKIPPED = "projector_counts_skipped_total";
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_name_keeps_the_rules() {
        super::ALL.iter().for_each(|metric| assert!(metric.mistakes().is_empty(), "{:?}", metric.mistakes()));
    }
}
