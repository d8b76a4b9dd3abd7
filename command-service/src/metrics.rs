//! Every metric of this crate: names, descriptions and labels. Labels have closed sets of values.

service_kit::declare_metrics! {
    /// Commands in one transaction.
    Histogram(Count) BATCH_COMMANDS = "followgraph_command_batch_commands";
    /// Time of a transaction, from the forming of its batch to its answers.
    Histogram(Seconds) COMMIT_SECONDS = "followgraph_command_commit_seconds";
    /// Events committed.
    Counter(Count) EVENTS_COMMITTED = "followgraph_command_events_committed_total";
    /// Edges added, updated or removed.
    Counter(Count) EDGES_CHANGED = "followgraph_command_edges_changed_total";
    /// Transactions tried again, by name.
    Counter(Count) TRANSACTION_RETRIES = "followgraph_command_transaction_retries_total" { transaction: "commands" };
    /// Transactions whose reply to COMMIT was lost.
    Counter(Count) COMMITS_IN_DOUBT = "followgraph_command_commits_in_doubt_total";
    /// Batches taken apart because a statement failed.
    Counter(Count) BATCHES_TAKEN_APART = "followgraph_command_batches_taken_apart_total";
    /// Commands whose transaction alone ran into a timeout of PostgreSQL.
    Counter(Count) COMMANDS_TIMED_OUT = "followgraph_command_timed_out_total";
    /// 1 while PostgreSQL takes no writes from this process: a standby, or default_transaction_read_only.
    Gauge(Switch) DATABASE_READ_ONLY = "followgraph_command_database_read_only";
    /// Commands refused because PostgreSQL records a fork.
    Counter(Count) FORKED_COMMANDS = "followgraph_command_forked_total";
    /// Commands waiting for their transaction.
    Gauge(Count) QUEUED_COMMANDS = "followgraph_command_queued";
    /// Commands refused without being tried, by cause: the queue is full (`queue_full`), or the caller has half of it
    /// while another one is refused (`queue_share`).
    Counter(Count) REFUSED = "followgraph_command_refused_total" { cause: "queue_full", "queue_share" };
    /// Chunks of imports that were slowed down.
    Counter(Count) IMPORT_CHUNKS_THROTTLED = "followgraph_command_import_chunks_throttled_total";
    /// 1 while this process works on jobs. One process of all does.
    Gauge(Switch) WORKER_LEADER = "followgraph_worker_leader";
    /// Edges that jobs have dealt with, by kind.
    Counter(Count) JOB_EDGES = "followgraph_jobs_edges_total" {
        kind: "erase", "archive", "restore", "make_public", "replace_following"
    };
    /// Jobs that ended, by kind and state. `overtaken`: a later command brought the account into another state.
    Counter(Count) JOBS_ENDED = "followgraph_jobs_ended_total" {
        kind: "erase", "archive", "restore", "make_public", "replace_following";
        state: "done", "failed", "overtaken"
    };
    /// Steps of jobs that failed, by kind and cause. `timeout` and `error` count as attempts of the job.
    Counter(Count) JOB_STEPS_FAILED = "followgraph_jobs_steps_failed_total" {
        kind: "erase", "archive", "restore", "make_public", "replace_following";
        cause: "timeout", "error", "head_lock", "database_away"
    };
    /// Mutes and blocks that ran out.
    Counter(Count) EXPIRED_EDGES = "followgraph_expiry_edges_total";
    /// Time from the date of an edge to its end.
    Histogram(Seconds) EXPIRY_LATE_SECONDS = "followgraph_expiry_late_seconds";
    /// 1 while this process trusts PostgreSQL's clock. While it does not, it ends no mute or block and drops no partition.
    Gauge(Switch) CLOCK_TRUSTED = "followgraph_clock_trusted";
    /// PostgreSQL's clock minus this process's, beyond what an operator has accepted.
    Gauge(Seconds) CLOCK_DIFFERENCE_SECONDS = "followgraph_clock_difference_seconds";
    /// Times that PostgreSQL's clock lost the trust of this process.
    Counter(Count) CLOCK_DISTRUSTED = "followgraph_clock_distrusted_total" { cause: "unread", "differs", "jumped" };
    /// For how many days after today there are partitions; -1 if there is none for today, and writes fail.
    Gauge(Count) PARTITION_DAYS_AHEAD = "followgraph_partition_days_ahead" { parent: "outbox", "replies" };
    /// Unix time of the last look at the partitions: `followgraph_partition_days_ahead` is as old.
    Gauge(Seconds) PARTITIONS_LOOKED_AT = "followgraph_partitions_looked_at_timestamp_seconds";
    /// Attempts to make partitions that failed.
    Counter(Count) PARTITIONS_FAILED = "followgraph_partitions_failed_total" { parent: "outbox", "replies" };
    /// Commands refused because their actor writes too fast.
    Counter(Count) RATE_LIMITED = "followgraph_command_rate_limited_total";

    /// The newest committed revision.
    Gauge(Revisions) HEAD_REVISION = "followgraph_command_head_revision";
    /// The newest revision in the stream.
    Gauge(Revisions) STREAM_REVISION = "followgraph_relay_stream_revision";
    /// 1 while this process publishes. One process of all does.
    Gauge(Switch) RELAY_LEADER = "followgraph_relay_leader";
    /// Events acknowledged by the stream.
    Counter(Count) EVENTS_PUBLISHED = "followgraph_relay_events_published_total";
    /// Time from commit to the stream's acknowledgement, of every event that this process published.
    Histogram(Seconds) PUBLISH_LAG_SECONDS = "followgraph_relay_publish_lag_seconds";
    /// Events committed and not yet published.
    Gauge(Revisions) OUTBOX_UNPUBLISHED = "followgraph_relay_outbox_unpublished";
    /// Age of the oldest unpublished event. Where this process could not look at the stream yet: for how long, if there are
    /// events that may be unpublished.
    Gauge(Seconds) OUTBOX_OLDEST_SECONDS = "followgraph_relay_outbox_oldest_seconds";
    /// Times that publishing started over.
    Counter(Count) RELAY_RESTARTS = "followgraph_relay_restarts_total";
    /// Times that the stream was made again from the outbox, because it held what is not ours.
    Counter(Count) STREAM_RECREATED = "followgraph_relay_stream_recreated_total";
    /// 1 while another stream holds the subjects, the stream is of another database, or a limit of NATS is in the way.
    Gauge(Switch) STREAM_BLOCKED = "followgraph_relay_stream_blocked";
    /// 1 while the stream is of another history than PostgreSQL.
    Gauge(Switch) STREAM_FORKED = "followgraph_relay_stream_forked";
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_name_keeps_the_rules() {
        super::ALL.iter().for_each(|metric| assert!(metric.mistakes().is_empty(), "{:?}", metric.mistakes()));
    }
}
