//! Every metric of this crate.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Commands in one transaction.
pub const BATCH_COMMANDS: &str = "followgraph_command_batch_commands";
/// Time of a transaction, from the forming of its batch to its answers.
pub const COMMIT_SECONDS: &str = "followgraph_command_commit_seconds";
/// Events committed.
pub const EVENTS_COMMITTED: &str = "followgraph_command_events_committed_total";
/// Edges added, updated or removed.
pub const EDGES_CHANGED: &str = "followgraph_command_edges_changed_total";
/// Transactions tried again, by name.
pub const TRANSACTION_RETRIES: &str = "followgraph_command_transaction_retries_total";
/// Transactions whose reply to COMMIT was lost.
pub const COMMITS_IN_DOUBT: &str = "followgraph_command_commits_in_doubt_total";
/// Batches taken apart because a statement failed.
pub const BATCHES_TAKEN_APART: &str = "followgraph_command_batches_taken_apart_total";
/// Commands waiting.
pub const QUEUED_COMMANDS: &str = "followgraph_command_queued";
/// Chunks of imports that were slowed down.
pub const IMPORT_CHUNKS_THROTTLED: &str = "followgraph_command_import_chunks_throttled_total";
/// Edges that jobs have dealt with, by kind.
pub const JOB_EDGES: &str = "followgraph_jobs_edges_total";
/// Jobs that ended, by kind and state.
pub const JOBS_ENDED: &str = "followgraph_jobs_ended_total";
/// Mutes and blocks that ran out.
pub const EXPIRED_EDGES: &str = "followgraph_expiry_edges_total";
/// Time from the date of an edge to its end.
pub const EXPIRY_LATE_SECONDS: &str = "followgraph_expiry_late_seconds";
/// Commands refused because their actor writes too fast.
pub const RATE_LIMITED: &str = "followgraph_command_rate_limited_total";
/// The newest revision.
pub const HEAD_REVISION: &str = "followgraph_command_head_revision";
/// Events acknowledged by the stream.
pub const EVENTS_PUBLISHED: &str = "followgraph_relay_events_published_total";
/// Events committed and not published.
pub const OUTBOX_UNPUBLISHED: &str = "followgraph_relay_outbox_unpublished";
/// Age of the oldest of them.
pub const OUTBOX_OLDEST_SECONDS: &str = "followgraph_relay_outbox_oldest_seconds";
/// Times that publishing started over.
pub const RELAY_RESTARTS: &str = "followgraph_relay_restarts_total";
/// Times that the stream was made again because it held what is not ours.
pub const STREAM_RECREATED: &str = "followgraph_relay_stream_recreated_total";
/// 1 while the stream is of another history.
pub const STREAM_FORKED: &str = "followgraph_relay_stream_forked";

/// Describes them to the exporter.
pub fn describe() {
    describe_histogram!(BATCH_COMMANDS, Unit::Count, "Commands in one transaction.");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Time of a transaction of commands.");
    describe_counter!(EVENTS_COMMITTED, "Events committed.");
    describe_counter!(EDGES_CHANGED, "Edges added, updated or removed.");
    describe_counter!(TRANSACTION_RETRIES, "Transactions tried again, by name.");
    describe_counter!(COMMITS_IN_DOUBT, "Transactions whose reply to COMMIT was lost.");
    describe_counter!(BATCHES_TAKEN_APART, "Batches taken apart because a statement failed.");
    describe_gauge!(QUEUED_COMMANDS, "Commands waiting for their transaction.");
    describe_counter!(IMPORT_CHUNKS_THROTTLED, "Chunks of imports that were slowed down.");
    describe_counter!(JOB_EDGES, "Edges that jobs have dealt with, by kind.");
    describe_counter!(JOBS_ENDED, "Jobs that ended, by kind and state.");
    describe_counter!(EXPIRED_EDGES, "Mutes and blocks that ran out.");
    describe_histogram!(EXPIRY_LATE_SECONDS, Unit::Seconds, "Time from the date of an edge to its end.");
    describe_counter!(RATE_LIMITED, "Commands refused because their actor writes too fast.");
    describe_gauge!(HEAD_REVISION, "The newest committed revision.");
    describe_counter!(EVENTS_PUBLISHED, "Events acknowledged by the stream.");
    describe_gauge!(OUTBOX_UNPUBLISHED, "Events committed and not yet published.");
    describe_gauge!(OUTBOX_OLDEST_SECONDS, Unit::Seconds, "Age of the oldest unpublished event.");
    describe_counter!(RELAY_RESTARTS, "Times that publishing started over.");
    describe_counter!(STREAM_RECREATED, "Times that the stream was made again from the outbox.");
    describe_gauge!(STREAM_FORKED, "1 while the stream is of another history than PostgreSQL.");
}
