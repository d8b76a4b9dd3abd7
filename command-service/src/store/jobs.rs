//! Jobs: commands start them, the worker continues them, GetJob returns them.

use std::collections::BTreeMap;

use proto::{Position, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{JobKind, NewJob, RequestName};
use crate::store::job_cursor::{Cursor, Phase};

/// `error` of a job that a later command has overtaken.
pub const OVERTAKEN: &str = "a later command took its place";

/// `error` of a job whose steps failed too often.
pub const GAVE_UP: &str = "its steps failed too often; the log of command-service has the errors";
/// `error` of a job of 0.1.0 whose list is not readable.
pub const LIST_UNREADABLE: &str = "its list cannot be read";

/// State of a job whose list is written: the column `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum State {
    /// Its steps are under way.
    Running,
    /// Its last step is committed.
    Done,
    /// It was given up, or superseded by another command.
    Failed,
}

/// A row of `jobs`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Job {
    /// Id of the job.
    pub job_id: Uuid,
    /// Name of the kind, see [`JobKind::stored`].
    pub kind: String,
    /// The account whose edges it changes.
    pub user_id: Uuid,
    /// Whether it has ended, and how.
    pub state: State,
    /// Number of processed edges.
    pub done: i64,
    /// Number of edges, counted at the start.
    pub total: i64,
    cursor_phase: Option<String>,
    cursor_position: Option<i64>,
    cursor_done: Option<i64>,
    cursor_passes: Option<i16>,
    /// Why it failed.
    pub error: Option<String>,
    /// Date of the command.
    pub created_at: OffsetDateTime,
    /// Date of the last step.
    pub updated_at: OffsetDateTime,
}

impl Job {
    /// Where the job continues; `None` before its first step.
    pub fn cursor(&self) -> Option<Cursor> {
        Some(Cursor {
            phase: Phase::named(self.cursor_phase.as_deref()?)?,
            after: Position::from_i64(self.cursor_position?),
            pass_done: self.cursor_done.unwrap_or(0),
            passes: self.cursor_passes.unwrap_or(0),
        })
    }
}

/// Starts a job. It supersedes a running job of the same kind and account.
///
/// Has no effect if a prepared job has already started: a commit whose reply was lost is repeated, and a later job may
/// have superseded this one since.
pub async fn insert(
    connection: &mut PgConnection,
    job_id: Uuid,
    job: &NewJob,
    request_id: Option<Uuid>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    if job.prepared.is_some() && get(connection, job_id).await?.is_some() {
        return Ok(());
    }
    supersede(connection, job.user, job.kind, Some(job_id), now).await?;
    if job.prepared.is_some() {
        return start_prepared(connection, job_id, request_id, now).await;
    }
    sqlx::query(
        "-- jobs_insert
         INSERT INTO jobs (job_id, kind, user_id, request_id, state, total, created_at, updated_at)
         VALUES ($1, $2, $3, $4, 'running', $6, $5, $5)",
    )
    .bind(job_id)
    .bind(job.kind.stored())
    .bind(job.user.uuid())
    .bind(request_id)
    .bind(now)
    .bind(i64::try_from(job.total).unwrap_or(i64::MAX))
    .execute(connection)
    .await
    .map(|_| ())
}

/// Starts a job whose list is written. The decision of the command locked its row, see [`super::targets::discarded`].
async fn start_prepared(
    connection: &mut PgConnection,
    job_id: Uuid,
    request_id: Option<Uuid>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let started = sqlx::query(
        "-- jobs_start
         UPDATE jobs SET state = 'running', request_id = $2, created_at = $3, updated_at = $3
         WHERE job_id = $1 AND state = 'preparing'",
    )
    .bind(job_id)
    .bind(request_id)
    .bind(now)
    .execute(connection)
    .await?;
    if started.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// Ends the running job of a kind and account, except the job `by` that supersedes it.
pub async fn supersede(
    connection: &mut PgConnection,
    user: UserId,
    kind: JobKind,
    by: Option<Uuid>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- jobs_supersede
         UPDATE jobs SET state = 'failed', error = $4, updated_at = $3, cursor = NULL
         WHERE user_id = $1 AND kind IN ($2, $5) AND state = 'running'
           AND job_id IS DISTINCT FROM $6",
    )
    .bind(user.uuid())
    .bind(kind.stored())
    .bind(now)
    .bind(OVERTAKEN)
    .bind(kind.name())
    .bind(by)
    .execute(connection)
    .await
    .map(|_| ())
}

/// Returns the running jobs of accounts.
pub async fn running(
    connection: &mut PgConnection,
    users: impl Iterator<Item = &UserId>,
) -> sqlx::Result<Vec<((UserId, JobKind), Uuid)>> {
    let rows: Vec<(Uuid, String, Uuid)> = sqlx::query_as(
        "-- jobs_running_of
         SELECT user_id, kind, job_id FROM jobs WHERE user_id = ANY($1) AND state = 'running'",
    )
    .bind(users.map(|user| user.uuid()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let named =
        |(user, kind, job): (Uuid, String, Uuid)| Some(((UserId::new(user)?, JobKind::named(&kind)?), job));
    Ok(rows.into_iter().filter_map(named).collect())
}

/// Returns the archived accounts that have live mutes or blocks by others.
pub async fn shown_by_others(connection: &mut PgConnection, users: &[UserId]) -> sqlx::Result<Vec<UserId>> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "-- jobs_shown_by_others
         SELECT u FROM unnest($1::uuid[]) AS x(u)
         WHERE EXISTS (SELECT FROM mutes WHERE muted_id = u) OR EXISTS (SELECT FROM blocks WHERE blocked_id = u)",
    )
    .bind(users.iter().map(|user| user.uuid()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter_map(UserId::new).collect())
}

/// Records which requests were answered with which erase jobs. A request gets another job if the first one failed and
/// the idempotency record has expired. Jobs that were deleted since are skipped.
pub async fn link_erases(
    connection: &mut PgConnection,
    requests: &BTreeMap<RequestName, Uuid>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- erase_requests_insert
         INSERT INTO erase_requests (user_id, request_id, job_id)
         SELECT u, r, job_id FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS x(u, r, job_id)
         JOIN jobs USING (job_id)
         ON CONFLICT (user_id, request_id) DO UPDATE SET job_id = excluded.job_id",
    )
    .bind(requests.keys().map(|(user, _)| user.uuid()).collect::<Vec<_>>())
    .bind(requests.keys().map(|(_, request)| *request).collect::<Vec<_>>())
    .bind(requests.values().copied().collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(|_| ())
}

/// Returns the erase jobs that requests were answered with, including ended ones.
///
/// Processes of earlier versions record only the request that started the job, in the row of the job.
pub async fn erases(
    connection: &mut PgConnection,
    requests: &[RequestName],
) -> sqlx::Result<BTreeMap<RequestName, Uuid>> {
    let rows: Vec<(Uuid, Uuid, Option<Uuid>)> = sqlx::query_as(
        "-- jobs_erases
         SELECT u, r, coalesce(
             (SELECT e.job_id FROM erase_requests AS e WHERE e.user_id = u AND e.request_id = r),
             (SELECT j.job_id FROM jobs AS j WHERE j.kind = 'erase' AND j.user_id = u AND j.request_id = r
              ORDER BY j.created_at DESC LIMIT 1))
         FROM unnest($1::uuid[], $2::uuid[]) AS x(u, r)",
    )
    .bind(requests.iter().map(|(user, _)| user.uuid()).collect::<Vec<_>>())
    .bind(requests.iter().map(|(_, request)| *request).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let named =
        |(user, request, job): (Uuid, Uuid, Option<Uuid>)| Some(((UserId::new(user)?, request), job?));
    Ok(rows.into_iter().filter_map(named).collect())
}

/// Returns a job that was started.
pub async fn get(connection: &mut PgConnection, job_id: Uuid) -> sqlx::Result<Option<Job>> {
    sqlx::query_as(
        "-- jobs_get
         SELECT job_id, kind, user_id, state, done, total, cursor_phase, cursor_position, cursor_done,
                cursor_passes, error, created_at, updated_at
         FROM jobs WHERE job_id = $1 AND state <> 'preparing'",
    )
    .bind(job_id)
    .fetch_optional(connection)
    .await
}

/// Counts the jobs that have not ended. Each state has a partial index of its own.
pub async fn count_running(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- jobs_count_running
         SELECT (SELECT count(*) FROM jobs WHERE state = 'running')
              + (SELECT count(*) FROM jobs WHERE state = 'preparing')",
    )
    .fetch_one(connection)
    .await
}

/// Returns the running job that has waited longest since its last step, of the kinds that this version knows, except
/// the `paused` ones.
pub async fn next(connection: &mut PgConnection, paused: &[Uuid]) -> sqlx::Result<Option<Job>> {
    let job_id: Option<Uuid> = sqlx::query_scalar(
        "-- jobs_next
         SELECT job_id FROM jobs
         WHERE state = 'running' AND kind = ANY($1) AND job_id <> ALL($2) ORDER BY updated_at LIMIT 1",
    )
    .bind(JobKind::ALL.map(JobKind::stored))
    .bind(paused)
    .fetch_optional(&mut *connection)
    .await?;
    match job_id {
        Some(job_id) => get(connection, job_id).await,
        None => Ok(None),
    }
}

/// Counts a failed step, and fails the job after `max_attempts` in a row. Returns the number of attempts, and the
/// state.
pub async fn record_failure(
    connection: &mut PgConnection,
    job_id: Uuid,
    max_attempts: i32,
) -> sqlx::Result<Option<(i32, State)>> {
    sqlx::query_as(
        "-- jobs_note_failure
         UPDATE jobs
         SET attempts = attempts + 1, updated_at = now(),
             state = CASE WHEN attempts + 1 >= $2 THEN 'failed' ELSE state END,
             error = CASE WHEN attempts + 1 >= $2 THEN $3 ELSE error END
         WHERE job_id = $1 AND state = 'running'
         RETURNING attempts, state",
    )
    .bind(job_id)
    .bind(max_attempts)
    .bind(GAVE_UP)
    .fetch_optional(connection)
    .await
}

/// Moves a job behind the other running jobs.
pub async fn put_back(connection: &mut PgConnection, job_id: Uuid) -> sqlx::Result<()> {
    sqlx::query(
        "-- jobs_put_back\nUPDATE jobs SET updated_at = now() WHERE job_id = $1 AND state = 'running'",
    )
    .bind(job_id)
    .execute(connection)
    .await
    .map(|_| ())
}

/// Counts the live and the archived edges of an account.
pub async fn count_edges(connection: &mut PgConnection, user: Uuid) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as(include_str!("count_edges.sql")).bind(user).fetch_one(connection).await
}

/// Counts the pending requests to an account.
pub async fn count_requests(connection: &mut PgConnection, user: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar("-- requests_count\nSELECT count(*) FROM follow_requests WHERE target_id = $1")
        .bind(user)
        .fetch_one(connection)
        .await
}

/// Records the number of edges of a job.
pub async fn set_total(connection: &mut PgConnection, job_id: Uuid, total: i64) -> sqlx::Result<()> {
    sqlx::query("-- jobs_set_total\nUPDATE jobs SET total = $2 WHERE job_id = $1 AND state = 'running'")
        .bind(job_id)
        .bind(total)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Records progress; without a cursor the job is done. Has no effect on a job that has ended.
pub async fn record_step(
    connection: &mut PgConnection,
    job_id: Uuid,
    edges: i64,
    cursor: Option<Cursor>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- jobs_go_on
         UPDATE jobs
         SET done = done + $2, total = greatest(total, done + $2), cursor = NULL, cursor_phase = $3,
             cursor_position = $4, cursor_done = $5, cursor_passes = $7, updated_at = $6, attempts = 0,
             state = CASE WHEN $3::text IS NULL THEN 'done' ELSE 'running' END
         WHERE job_id = $1 AND state = 'running'",
    )
    .bind(job_id)
    .bind(edges)
    .bind(cursor.map(|cursor| cursor.phase.name()))
    .bind(cursor.map(|cursor| cursor.after.as_i64()))
    .bind(cursor.map(|cursor| cursor.pass_done))
    .bind(now)
    .bind(cursor.map(|cursor| cursor.passes))
    .execute(connection)
    .await
    .map(|_| ())
}

/// Ends a job with an error.
pub async fn fail(connection: &mut PgConnection, job_id: Uuid, why: &str) -> sqlx::Result<()> {
    sqlx::query(
        "-- jobs_fail
         UPDATE jobs SET state = 'failed', error = $2, cursor = NULL, updated_at = now() WHERE job_id = $1",
    )
    .bind(job_id)
    .bind(why)
    .execute(connection)
    .await
    .map(|_| ())
}

/// Deletes jobs that ended long ago; returns how many.
pub async fn delete_ended(
    connection: &mut PgConnection,
    older_than: std::time::Duration,
) -> sqlx::Result<u64> {
    sqlx::query(
        "-- jobs_forget_ended
         DELETE FROM jobs WHERE state IN ('done', 'failed') AND updated_at < now() - make_interval(secs => $1)",
    )
    .bind(older_than.as_secs_f64())
    .execute(connection)
    .await
    .map(|done| done.rows_affected())
}
