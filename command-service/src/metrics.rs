//! Every metric of this crate: names, descriptions and labels. Labels have closed sets of values.

service_kit::declare_metrics! {
    /// Commands in one transaction.
    Histogram(Count) BATCH_COMMANDS = "followgraph_command_batch_commands";
    /// Duration of a transaction, from the forming of its batch to the answers.
    Histogram(Seconds) COMMIT_SECONDS = "followgraph_command_commit_seconds";
    /// Events committed.
    Counter(Count) EVENTS_COMMITTED = "followgraph_command_events_committed_total";
    /// Edges added, updated or removed.
    Counter(Count) EDGES_CHANGED = "followgraph_command_edges_changed_total";
    /// Retried transactions, by name.
    Counter(Count) TRANSACTION_RETRIES = "followgraph_command_transaction_retries_total" { transaction: "commands" };
    /// Transactions whose reply to COMMIT was lost.
    Counter(Count) COMMITS_IN_DOUBT = "followgraph_command_commits_in_doubt_total";
    /// Batches taken apart after a failed statement.
    Counter(Count) BATCHES_TAKEN_APART = "followgraph_command_batches_taken_apart_total";
    /// Commands that failed because their transaction alone ran into a timeout of PostgreSQL, or took longer than 15 s.
    Counter(Count) COMMANDS_TIMED_OUT = "followgraph_command_timed_out_total";
    /// 1 while PostgreSQL takes no writes from this process: it is a standby, or default_transaction_read_only is on.
    Gauge(Switch) DATABASE_READ_ONLY = "followgraph_command_database_read_only";
    /// Commands refused because PostgreSQL records a fork.
    Counter(Count) FORKED_COMMANDS = "followgraph_command_forked_total";
    /// Commands, chunks of imports and replacements waiting for their transaction.
    Gauge(Count) QUEUED_COMMANDS = "followgraph_command_queued";
    /// Commands refused by the queue, by cause: it is full (`queue_full`), or the caller has half of it while another
    /// caller is refused (`queue_share`).
    Counter(Count) REFUSED = "followgraph_command_refused_total" { cause: "queue_full", "queue_share" };
    /// Throttled chunks of imports and steps of jobs.
    Counter(Count) IMPORT_CHUNKS_THROTTLED = "followgraph_command_import_chunks_throttled_total";
    /// 1 while this process works on jobs. Only one process at a time does.
    Gauge(Switch) WORKER_LEADER = "followgraph_worker_leader";
    /// Edges processed by jobs, by kind.
    Counter(Count) JOB_EDGES = "followgraph_jobs_edges_total" {
        kind: "erase", "archive", "restore", "make_public", "replace_following"
    };
    /// Ended jobs, by kind and state. `overtaken`: a later command changed the state of the account.
    Counter(Count) JOBS_ENDED = "followgraph_jobs_ended_total" {
        kind: "erase", "archive", "restore", "make_public", "replace_following";
        state: "done", "failed", "overtaken"
    };
    /// Failed steps of jobs, by kind and cause. `timeout` and `error` count as attempts of the job.
    Counter(Count) JOB_STEPS_FAILED = "followgraph_jobs_steps_failed_total" {
        kind: "erase", "archive", "restore", "make_public", "replace_following";
        cause: "timeout", "error", "head_lock", "database_away"
    };
    /// Expired mutes and blocks.
    Counter(Count) EXPIRED_EDGES = "followgraph_expiry_edges_total";
    /// Delay from the expiry of a mute or block to its removal.
    Histogram(Seconds) EXPIRY_LATE_SECONDS = "followgraph_expiry_late_seconds";
    /// 1 while this process trusts PostgreSQL's clock. Otherwise it removes no expired mute or block and drops no
    /// partition.
    Gauge(Switch) CLOCK_TRUSTED = "followgraph_clock_trusted";
    /// PostgreSQL's clock minus this process's clock, minus the difference that an operator has accepted.
    Gauge(Seconds) CLOCK_DIFFERENCE_SECONDS = "followgraph_clock_difference_seconds";
    /// Times that this process began to distrust PostgreSQL's clock, by cause.
    Counter(Count) CLOCK_DISTRUSTED = "followgraph_clock_distrusted_total" { cause: "unread", "differs", "jumped" };
    /// Number of days after today for which partitions exist; -1 if today's is missing, and writes fail.
    Gauge(Count) PARTITION_DAYS_AHEAD = "followgraph_partition_days_ahead" { parent: "outbox", "replies" };
    /// Unix time of the last check of the partitions, which is the age of `followgraph_partition_days_ahead`.
    Gauge(Seconds) PARTITIONS_LOOKED_AT = "followgraph_partitions_looked_at_timestamp_seconds";
    /// Failed attempts to create partitions.
    Counter(Count) PARTITIONS_FAILED = "followgraph_partitions_failed_total" { parent: "outbox", "replies" };
    /// Commands refused by the rate limit of their actor.
    Counter(Count) RATE_LIMITED = "followgraph_command_rate_limited_total";

    /// The newest committed revision.
    Gauge(Revisions) HEAD_REVISION = "followgraph_command_head_revision";
    /// The newest revision in the stream.
    Gauge(Revisions) STREAM_REVISION = "followgraph_relay_stream_revision";
    /// 1 while this process publishes. Only one process at a time does.
    Gauge(Switch) RELAY_LEADER = "followgraph_relay_leader";
    /// Events acknowledged by the stream.
    Counter(Count) EVENTS_PUBLISHED = "followgraph_relay_events_published_total";
    /// Time from the commit of an event to the stream's acknowledgement, for events that this process published.
    Histogram(Seconds) PUBLISH_LAG_SECONDS = "followgraph_relay_publish_lag_seconds";
    /// Committed events that are not published yet.
    Gauge(Revisions) OUTBOX_UNPUBLISHED = "followgraph_relay_outbox_unpublished";
    /// Age of the oldest unpublished event. If this process could not inspect the stream yet: the time since its start,
    /// while the outbox has events.
    Gauge(Seconds) OUTBOX_OLDEST_SECONDS = "followgraph_relay_outbox_oldest_seconds";
    /// Restarts of publishing after an error.
    Counter(Count) RELAY_RESTARTS = "followgraph_relay_restarts_total";
    /// Times that the stream was created again from the outbox because it contained a foreign message.
    Counter(Count) STREAM_RECREATED = "followgraph_relay_stream_recreated_total";
    /// 1 while publishing is blocked: another stream holds the subjects, the stream belongs to another database, or
    /// NATS's limit of messages is too low.
    Gauge(Switch) STREAM_BLOCKED = "followgraph_relay_stream_blocked";
    /// 1 while the stream belongs to another history than PostgreSQL.
    Gauge(Switch) STREAM_FORKED = "followgraph_relay_stream_forked";
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_name_keeps_the_rules() {
        super::ALL.iter().for_each(|metric| assert!(metric.mistakes().is_empty(), "{:?}", metric.mistakes()));
    }
}
