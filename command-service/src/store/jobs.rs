//! Jobs: started by commands, carried on by the worker, told to callers.

use proto::UserId;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{JobKind, NewJob};
use crate::jobs::Cursor;

/// Why a job ended that was overtaken.
pub const OVERTAKEN: &str = "a later command took its place";

/// A job as it stands.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Job {
    /// Its id.
    pub job_id: Uuid,
    /// What it does, by name.
    pub kind: String,
    /// The account that it is about.
    pub user_id: Uuid,
    /// "running", "done" or "failed".
    pub state: String,
    /// How many edges it has dealt with.
    pub done: i64,
    /// How many there are, as counted at its start.
    pub total: i64,
    /// Where it goes on, encoded; none before its first step.
    pub cursor: Option<Vec<u8>>,
    /// Why it ended early.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
    /// When it last went on.
    pub updated_at: OffsetDateTime,
}

/// Starts a job. It takes the place of one of the same kind and account.
pub async fn insert(
    connection: &mut PgConnection,
    job_id: Uuid,
    job: &NewJob,
    request_id: Option<Uuid>,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    supersede(connection, job.user, job.kind, now).await?;
    // Also an empty list is one to reach.
    let cursor =
        (job.kind == JobKind::ReplaceFollowing).then(|| Cursor::Targets(job.targets.clone()).encode());
    sqlx::query(
        "-- jobs_insert
         INSERT INTO jobs (job_id, kind, user_id, request_id, state, total, cursor, created_at, updated_at)
         VALUES ($1, $2, $3, $4, 'running', $7, $5, $6, $6)",
    )
    .bind(job_id)
    .bind(job.kind.name())
    .bind(job.user.uuid())
    .bind(request_id)
    .bind(cursor)
    .bind(now)
    .bind(i64::try_from(job.total).unwrap_or(i64::MAX))
    .execute(connection)
    .await
    .map(|_| ())
}

/// Ends the running job of that kind and account, if there is one.
pub async fn supersede(
    connection: &mut PgConnection,
    user: UserId,
    kind: JobKind,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "-- jobs_supersede
         UPDATE jobs SET state = 'failed', error = $4, updated_at = $3, cursor = NULL
         WHERE user_id = $1 AND kind = $2 AND state = 'running'",
    )
    .bind(user.uuid())
    .bind(kind.name())
    .bind(now)
    .bind(OVERTAKEN)
    .execute(connection)
    .await
    .map(|_| ())
}

/// The running jobs of accounts.
pub async fn running(
    connection: &mut PgConnection,
    users: impl Iterator<Item = &UserId>,
) -> Result<Vec<((UserId, JobKind), Uuid)>, sqlx::Error> {
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

/// Takes an account out of the lists that running jobs are to reach.
pub async fn forget_target(connection: &mut PgConnection, user: UserId) -> Result<(), sqlx::Error> {
    let naming: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
        "-- jobs_naming
         SELECT job_id, cursor FROM jobs WHERE state = 'running' AND kind = $1 AND position($2 IN cursor) > 0",
    )
    .bind(JobKind::ReplaceFollowing.name())
    .bind(user.uuid().as_bytes().as_slice())
    .fetch_all(&mut *connection)
    .await?;
    for (job_id, cursor) in naming {
        let Some(Cursor::Targets(mut targets)) = Cursor::decode(&cursor) else { continue };
        targets.retain(|target| *target != user);
        sqlx::query("-- jobs_set_cursor\nUPDATE jobs SET cursor = $2 WHERE job_id = $1")
            .bind(job_id)
            .bind(Cursor::Targets(targets).encode())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A job by its id.
pub async fn get(connection: &mut PgConnection, job_id: Uuid) -> Result<Option<Job>, sqlx::Error> {
    sqlx::query_as(
        "-- jobs_get
         SELECT job_id, kind, user_id, state, done, total, cursor, error, created_at, updated_at
         FROM jobs WHERE job_id = $1",
    )
    .bind(job_id)
    .fetch_optional(connection)
    .await
}

/// The running job that has waited longest since its last step, of the kinds that this version knows.
pub async fn next(connection: &mut PgConnection) -> Result<Option<Job>, sqlx::Error> {
    sqlx::query_as(
        "-- jobs_next
         SELECT job_id, kind, user_id, state, done, total, cursor, error, created_at, updated_at
         FROM jobs WHERE state = 'running' AND kind = ANY($1) ORDER BY updated_at LIMIT 1",
    )
    .bind(JobKind::ALL.map(JobKind::name))
    .fetch_optional(connection)
    .await
}

/// Lets the others go first.
pub async fn put_back(connection: &mut PgConnection, job_id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "-- jobs_put_back\nUPDATE jobs SET updated_at = now() WHERE job_id = $1 AND state = 'running'",
    )
    .bind(job_id)
    .execute(connection)
    .await
    .map(|_| ())
}

/// Counts the edges that a job will deal with: live ones, and hidden ones.
pub async fn count_edges(connection: &mut PgConnection, user: Uuid) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(include_str!("count_edges.sql")).bind(user).fetch_one(connection).await
}

/// How many accounts ask to follow one.
pub async fn count_requests(connection: &mut PgConnection, user: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("-- requests_count\nSELECT count(*) FROM follow_requests WHERE target_id = $1")
        .bind(user)
        .fetch_one(connection)
        .await
}

/// Notes how many edges a job has to deal with.
pub async fn set_total(connection: &mut PgConnection, job_id: Uuid, total: i64) -> Result<(), sqlx::Error> {
    sqlx::query("-- jobs_set_total\nUPDATE jobs SET total = $2 WHERE job_id = $1 AND state = 'running'")
        .bind(job_id)
        .bind(total)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Notes a step: so many edges more, and where to go on; none: all is done.
pub async fn go_on(
    connection: &mut PgConnection,
    job_id: Uuid,
    edges: i64,
    cursor: Option<&Cursor>,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "-- jobs_go_on
         UPDATE jobs
         SET done = done + $2, total = greatest(total, done + $2), cursor = $3, updated_at = $4,
             state = CASE WHEN $3::bytea IS NULL THEN 'done' ELSE 'running' END
         WHERE job_id = $1",
    )
    .bind(job_id)
    .bind(edges)
    .bind(cursor.map(Cursor::encode))
    .bind(now)
    .execute(connection)
    .await
    .map(|_| ())
}

/// Ends a job early.
pub async fn fail(connection: &mut PgConnection, job_id: Uuid, why: &str) -> Result<(), sqlx::Error> {
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

/// Forgets jobs that ended long ago; answers how many.
pub async fn forget_ended(
    connection: &mut PgConnection,
    older_than: std::time::Duration,
) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "-- jobs_forget_ended
         DELETE FROM jobs WHERE state <> 'running' AND updated_at < now() - make_interval(secs => $1)",
    )
    .bind(older_than.as_secs_f64())
    .execute(connection)
    .await
    .map(|done| done.rows_affected())
}
