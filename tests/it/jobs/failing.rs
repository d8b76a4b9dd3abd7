//! PostgreSQL's timeouts in a batch and in a step of a job.

use devstack::env_file::Env;
use proto::command::v1::{GetJobResponse, GetStatusRequest, JobState};
use proto::error::Reason;
use sqlx::{Postgres, Transaction};
use tests::clients::Commands;
use tests::jobs::{self, OnAccount};
use tests::metrics::scrape;
use tests::refusal::assert_refused;
use tests::truth::Edges;
use tests::{Act, Ask, Own, until, user, users};
use tokio::task::{JoinSet, block_in_place};
use tonic_types::StatusExt as _;

use super::{changed, edges};

/// Number of commands in a batch besides the failing one. Together they are five parts of five.
const OTHERS: u32 = 24;

/// A set whose statements are cancelled after one second.
async fn impatient(settings: Env) -> Own {
    Own::light().start_with(settings.with("DATABASE_STATEMENT_TIMEOUT_MILLIS", "1000")).await
}

/// Locks the row of an account, so that every transaction that counts one of its edges waits.
async fn hold(own: &Own, account: proto::UserId) -> Transaction<'static, Postgres> {
    let mut lock = own.endpoints.postgres().await.begin().await.expect("a transaction");
    let rows = sqlx::query("SELECT FROM accounts WHERE user_id = $1 FOR UPDATE")
        .bind(account.uuid())
        .execute(&mut *lock)
        .await
        .expect("the row");
    assert_eq!(rows.rows_affected(), 1);
    lock
}

fn value(own: &Own, metric: &str) -> f64 {
    let samples = block_in_place(|| scrape(own.pipeline.command.admin_addr()));
    samples.iter().filter(|sample| sample.metric == metric).map(|sample| sample.value).sum()
}

/// Number of jobs of a kind that ended in a state; `None` if there is no such series.
fn ended(own: &Own, kind: &str, state: &str) -> Option<f64> {
    let samples = block_in_place(|| scrape(own.pipeline.command.admin_addr()));
    let mut ended = samples.iter().filter(|sample| sample.metric == "followgraph_jobs_ended_total");
    let sample = ended.find(|sample| sample.labels["kind"] == kind && sample.labels["state"] == state);
    sample.map(|sample| sample.value)
}

/// Waits until the single job of a kind is counted.
async fn until_ended(own: &Own, kind: &str, state: &str) {
    until("a job to be counted", || async {
        let count = ended(own, kind, state);
        if count == Some(1.0) { Ok(()) } else { Err(format!("{count:?}")) }
    })
    .await;
}

/// Waits until a job has failed.
async fn until_failed(commands: &Commands, job_id: &str) -> GetJobResponse {
    until("the job to give up", || async {
        let job = jobs::get(commands, job_id).await.expect("the job");
        if job.state() == JobState::Failed { Ok(job) } else { Err(format!("{job:?}")) }
    })
    .await
}

/// Number of unfinished jobs.
async fn running_jobs(commands: &Commands) -> u32 {
    commands.clone().get_status(GetStatusRequest {}).await.expect("a status").into_inner().running_jobs
}

/// Waits until `queued` commands are in command-service's queue.
async fn wait_queued(commands: &Commands, queued: u32) {
    until("commands to gather", || async {
        let status = commands.clone().get_status(GetStatusRequest {}).await.expect("a status").into_inner();
        if status.queued_commands >= queued { Ok(()) } else { Err(status.queued_commands.to_string()) }
    })
    .await;
}

/// Sends commands and, before or after them, one that cannot follow `x`, as one batch: only that one fails.
async fn assert_fails_alone(own: &Own, x: proto::UserId, first: bool) {
    let commands = own.endpoints.commands();
    let send = |actor, other| {
        let commands = commands.clone();
        async move { Ask::new(Act::Follow, actor, other).send(&commands).await }
    };
    // They collect in the queue while another command waits for the head.
    let pool = own.endpoints.postgres().await;
    let mut head = pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM log_lock FOR UPDATE").execute(&mut *head).await.expect("the head");
    let mut others = JoinSet::new();
    others.spawn(send(user(), user()));
    until("the other one to wait for the head", || async {
        // This role cannot see the statements of others, but their locks.
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_locks WHERE NOT granted")
            .fetch_one(&pool)
            .await
            .expect("locks are visible");
        if waiting > 0 { Ok(()) } else { Err("nothing waits".to_owned()) }
    })
    .await;
    let mut poison = JoinSet::new();
    if first {
        poison.spawn(send(user(), x));
        wait_queued(&commands, 1).await;
    }
    for _ in 0..OTHERS {
        others.spawn(send(user(), user()));
    }
    if !first {
        wait_queued(&commands, OTHERS).await;
        poison.spawn(send(user(), x));
    }
    wait_queued(&commands, OTHERS + 1).await;
    head.rollback().await.expect("the lock is released");

    while let Some(answer) = others.join_next().await {
        assert!(answer.expect("no panic").expect("no command of others fails").changed);
    }
    let poison = poison.join_next().await.expect("it was sent");
    let refused = poison.expect("no panic").expect_err("it cannot succeed");
    assert_refused(&refused, Reason::CommitTimedOut, None);
    assert!(refused.get_details_retry_info().is_none(), "the error is not retryable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_runs_into_a_timeout_fails_alone() {
    let own = impatient(Env::default()).await;
    let commands = own.endpoints.commands();
    let [x, y] = users();
    changed(&commands, Act::Follow, y, x).await;
    let held = hold(&own, x).await;
    assert_fails_alone(&own, x, false).await;
    assert_eq!(value(&own, "followgraph_command_timed_out_total"), 1.0);
    assert_fails_alone(&own, x, true).await;
    assert_eq!(value(&own, "followgraph_command_timed_out_total"), 2.0);
    // Each batch, and the part of it that contained the command.
    assert!(value(&own, "followgraph_command_batches_taken_apart_total") >= 4.0);
    held.rollback().await.expect("the lock is released");
    Ask::new(Act::Follow, user(), x).done(&commands).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_steps_fail_gives_up_and_can_be_started_again() {
    let own = impatient(Env::default().with("JOB_ATTEMPTS", "3")).await;
    let commands = own.endpoints.commands();
    let [x, muted, fan, other] = users();
    changed(&commands, Act::Follow, fan, x).await;
    // It has no edges of its own to hide.
    changed(&commands, Act::Mute, fan, muted).await;
    assert_eq!(ended(&own, "erase", "failed"), Some(0.0), "so that an alert sees the first one");
    let held = hold(&own, fan).await;
    let (erased, archived) = tokio::join!(
        OnAccount::Erase.send(&commands, x, None),
        OnAccount::Archive.send(&commands, muted, None)
    );
    let (erased, archived) = (erased.expect("an erase"), archived.expect("an archive"));
    // Three attempts of each take seconds.
    assert_eq!(running_jobs(&commands).await, 2);
    for job_id in [&erased.job_id, &archived.job_id] {
        let failed = until_failed(&commands, job_id).await;
        assert!(failed.error.contains("failed too often"), "{failed:?}");
    }
    let pool = own.endpoints.postgres().await;
    let attempts: i32 = sqlx::query_scalar("SELECT attempts FROM jobs WHERE job_id = $1::uuid")
        .bind(&erased.job_id)
        .fetch_one(&pool)
        .await
        .expect("the job's row");
    assert_eq!(attempts, 3);
    assert_eq!(value(&own, "followgraph_jobs_steps_failed_total"), 6.0);
    until_ended(&own, "erase", "failed").await;
    until_ended(&own, "archive", "failed").await;
    assert_eq!(running_jobs(&commands).await, 0);
    let refused = Ask::new(Act::Follow, other, x).refused(&commands).await;
    assert_refused(&refused, Reason::AccountErasing, None);

    held.rollback().await.expect("the lock is released");
    let again = OnAccount::Archive.send(&commands, muted, None).await.expect("again");
    assert_ne!(again.job_id, archived.job_id);
    jobs::wait(&commands, &again.job_id).await;
    assert_eq!(edges(&own.endpoints, &[muted]).await, Edges::new());
    let again = OnAccount::Erase.send(&commands, x, None).await.expect("again");
    assert_ne!(again.job_id, erased.job_id);
    jobs::wait(&commands, &again.job_id).await;
    assert_eq!(edges(&own.endpoints, &[x, fan]).await, Edges::new());
    changed(&commands, Act::Follow, other, x).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_later_command_overtakes_is_not_counted_as_failed() {
    // It pauses after each edge, so that the next command arrives before its end.
    let slow = Env::default().with("JOB_STEP_EDGES", "1").with("JOB_STEP_PAUSE_RATIO", "100");
    let own = Own::light().start_with(slow).await;
    let commands = own.endpoints.commands();
    let [x, a, b, c] = users();
    for fan in [a, b, c] {
        changed(&commands, Act::Follow, fan, x).await;
    }
    let archived = OnAccount::Archive.send(&commands, x, None).await.expect("an archive");
    let restored = OnAccount::Restore.send(&commands, x, None).await.expect("a restore");
    jobs::wait(&commands, &restored.job_id).await;
    until_ended(&own, "archive", "overtaken").await;
    let overtaken = jobs::get(&commands, &archived.job_id).await.expect("the job");
    assert_eq!(overtaken.state(), JobState::Failed);
    assert!(overtaken.error.contains("a later command took its place"), "{overtaken:?}");
    assert_eq!(ended(&own, "archive", "failed"), Some(0.0));
    assert_eq!(edges(&own.endpoints, &[x]).await.len(), 3);
}
