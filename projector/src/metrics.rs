//! Every metric of this crate.
//!
//! Owns: names, descriptions and labels; labels come from closed sets. Must not know: how they leave the process.
//! What can go wrong: nothing.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Events applied to the read model.
pub const EVENTS: &str = "projector_events_applied_total";
/// Edge changes written; label `op` (`create`, `put`, `delete`).
pub const CHANGES: &str = "projector_edge_changes_total";
/// Edges changed by one batch, netted.
pub const BATCH_EDGES: &str = "projector_batch_edges";
/// Time of one batch's transaction.
pub const APPLY_SECONDS: &str = "projector_apply_seconds";
/// Time of the small transaction that moves `visible` and `target`.
pub const PUBLISH_SECONDS: &str = "projector_publish_seconds";
/// Time from commit in PostgreSQL to visible in the read model, of every event.
pub const LAG_SECONDS: &str = "projector_lag_seconds";
/// How many revisions the read model is behind the head.
pub const LAG_REVISIONS: &str = "projector_lag_revisions";
/// Newest revision that readers are sure to see.
pub const VISIBLE: &str = "projector_visible_revision";
/// Newest revision known to be committed.
pub const HEAD: &str = "projector_head_revision";
/// 1 while every range was swept since the read model was built.
pub const COMPLETE: &str = "projector_complete";
/// Sessions with the read model that ended and were opened again; label `cause`.
pub const RETRIES: &str = "projector_session_retries_total";
/// Times the checkpoint was set to the head and the sweep began again; label `cause`.
pub const RESETS: &str = "projector_resets_total";

/// Consumers built anew; label `cause`.
pub const REBUILDS: &str = "projector_consumer_rebuilds_total";
/// Stream messages below the expected revision, skipped.
pub const REDELIVERIES: &str = "projector_redeliveries_total";
/// Stream messages that are not the event of their revision.
pub const FOREIGN: &str = "projector_foreign_messages_total";
/// Events read from the outbox instead of the stream.
pub const OUTBOX_EVENTS: &str = "projector_outbox_events_total";
/// How many revisions the stream is behind the read model; above zero it has lost its tail.
pub const STREAM_BEHIND: &str = "projector_stream_behind_revisions";

/// Ranges compared; label `kind`.
pub const TILES: &str = "projector_sweep_tiles_total";
/// Edges read from PostgreSQL for comparison; label `kind`.
pub const TILE_ROWS: &str = "projector_sweep_rows_total";
/// Edges that a sweep found wrong in a complete read model and repaired; label `cause` (`missing`, `extra`,
/// `different`, `misplaced`).
pub const DIFFERENCES: &str = "projector_sweep_differences_total";
/// Complete passes over all edges.
pub const PASSES: &str = "projector_sweep_passes_total";
/// Progress of the pass under way, from 0 to 1.
pub const PROGRESS: &str = "projector_sweep_progress";
/// Time from a tile's snapshot to its repair.
pub const TILE_SECONDS: &str = "projector_sweep_tile_seconds";

/// Describes all of them.
pub fn describe() {
    describe_counter!(EVENTS, "Events applied to the read model.");
    describe_counter!(CHANGES, "Edge changes written to the read model.");
    describe_histogram!(BATCH_EDGES, "Edges changed by one batch, netted.");
    describe_histogram!(APPLY_SECONDS, Unit::Seconds, "Time of one batch's transaction.");
    describe_histogram!(
        PUBLISH_SECONDS,
        Unit::Seconds,
        "Time of the transaction that moves visible and target."
    );
    describe_histogram!(
        LAG_SECONDS,
        Unit::Seconds,
        "Time from commit in PostgreSQL to visible, every event."
    );
    describe_gauge!(LAG_REVISIONS, "How many revisions the read model is behind the head.");
    describe_gauge!(VISIBLE, "Newest revision that readers are sure to see.");
    describe_gauge!(HEAD, "Newest revision known to be committed.");
    describe_gauge!(COMPLETE, "1 while every range was swept since the read model was built.");
    describe_counter!(RETRIES, "Sessions with the read model that ended and were opened again.");
    describe_counter!(RESETS, "Times the checkpoint was set to the head and the sweep began again.");
    describe_counter!(REBUILDS, "Stream consumers built anew.");
    describe_counter!(REDELIVERIES, "Stream messages below the expected revision, skipped.");
    describe_counter!(FOREIGN, "Stream messages that are not the event of their revision.");
    describe_counter!(OUTBOX_EVENTS, "Events read from the outbox instead of the stream.");
    describe_gauge!(STREAM_BEHIND, "How many revisions the stream is behind the read model.");
    describe_counter!(TILES, "Ranges compared by the sweep.");
    describe_counter!(TILE_ROWS, "Edges read from PostgreSQL for comparison.");
    describe_counter!(DIFFERENCES, "Edges found wrong in a complete read model, and repaired; must be 0.");
    describe_counter!(PASSES, "Complete passes over all edges.");
    describe_gauge!(PROGRESS, "Progress of the pass under way, from 0 to 1.");
    describe_histogram!(TILE_SECONDS, Unit::Seconds, "Time from a tile's snapshot to its repair.");
    // Zero must be told apart from absent.
    for cause in ["missing", "extra", "different", "misplaced"] {
        metrics::counter!(DIFFERENCES, "cause" => cause).increment(0);
    }
}
