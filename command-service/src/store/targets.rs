//! The lists of replacement jobs.
//!
//! A list is written before its job starts, and deleted in chunks after the job has ended, both without the lock on the
//! head.

use std::collections::BTreeSet;

use proto::{Position, UserId};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::domain::JobKind;

/// Rows of one statement.
const CHUNK: usize = 5_000;

/// Writes a list and the row of its job, in the state `preparing`.
pub async fn prepare(
    connection: &mut PgConnection,
    job_id: Uuid,
    user: UserId,
    targets: &[UserId],
    total: usize,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "-- jobs_prepare
         INSERT INTO jobs (job_id, kind, user_id, state, total, created_at, updated_at)
         VALUES ($1, $2, $3, 'preparing', $4, now(), now())",
    )
    .bind(job_id)
    .bind(JobKind::ReplaceFollowing.stored())
    .bind(user.uuid())
    .bind(i64::try_from(total).unwrap_or(i64::MAX))
    .execute(&mut *transaction)
    .await?;
    write(&mut transaction, job_id, targets).await?;
    transaction.commit().await
}

/// Writes a list. The last target is added first, so that the first is listed as the newest.
async fn write(connection: &mut PgConnection, job_id: Uuid, targets: &[UserId]) -> sqlx::Result<()> {
    let mut first = 0_i32;
    let reversed: Vec<Uuid> = targets.iter().rev().map(|target| target.uuid()).collect();
    for chunk in reversed.chunks(CHUNK) {
        sqlx::query(
            "-- job_targets_insert
             INSERT INTO job_targets (job_id, position, user_id)
             SELECT $1, $2 + n::integer, t FROM unnest($3::uuid[]) WITH ORDINALITY AS x(t, n)",
        )
        .bind(job_id)
        .bind(first)
        .bind(chunk)
        .execute(&mut *connection)
        .await?;
        first += CHUNK as i32;
    }
    Ok(())
}

/// Returns the jobs that were deleted before they started. Locks the rows of the others until the transaction ends, so
/// that they cannot be deleted meanwhile.
pub async fn discarded(connection: &mut PgConnection, jobs: &BTreeSet<Uuid>) -> sqlx::Result<Vec<Uuid>> {
    let found: Vec<Uuid> = sqlx::query_scalar(
        "-- jobs_prepared
         SELECT job_id FROM jobs WHERE job_id = ANY($1) ORDER BY job_id FOR UPDATE",
    )
    .bind(jobs.iter().copied().collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(jobs.iter().copied().filter(|job| !found.contains(job)).collect())
}

/// Deletes a job that has not started.
pub async fn discard(connection: &mut PgConnection, job_id: Uuid) -> sqlx::Result<()> {
    sqlx::query("-- jobs_discard\nDELETE FROM jobs WHERE job_id = $1 AND state = 'preparing'")
        .bind(job_id)
        .execute(connection)
        .await
        .map(|_| ())
}

/// A row that a step has read.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Position of the edge, or in the list.
    pub position: Position,
    /// The account at the other end.
    pub target: UserId,
    /// Whether the pair is already as the list demands.
    pub reached: bool,
}

/// The live follows and requests of an account. Those in the list are `reached`.
pub const EDGES: &str = "-- job_targets_edges
    SELECT position, target, EXISTS (SELECT FROM job_targets AS t WHERE t.user_id = target AND t.job_id = $1)
    FROM (
        (SELECT position, following_id AS target FROM follows
         WHERE follower_id = $2 AND position > $3 ORDER BY position LIMIT $4)
        UNION ALL
        (SELECT position, target_id FROM follow_requests
         WHERE requester_id = $2 AND position > $3 ORDER BY position LIMIT $4)
        ORDER BY position LIMIT $4
    ) AS edges
    ORDER BY position";

/// The accounts of a list. Those that are followed, or private with a pending request, are `reached`.
pub const LIST: &str = "-- job_targets_list
    SELECT t.position::bigint, t.user_id,
           EXISTS (SELECT FROM follows WHERE follower_id = $2 AND following_id = t.user_id)
           OR (EXISTS (SELECT FROM follow_requests WHERE requester_id = $2 AND target_id = t.user_id)
               AND EXISTS (SELECT FROM accounts AS a WHERE a.user_id = t.user_id AND a.private))
    FROM (SELECT position, user_id FROM job_targets
          WHERE job_id = $1 AND position > $3 ORDER BY position LIMIT $4) AS t
    ORDER BY t.position";

/// Reads the next rows of a job: `sql` is [`EDGES`] or [`LIST`].
pub async fn look_at(
    connection: &mut PgConnection,
    sql: &'static str,
    (job_id, user): (Uuid, Uuid),
    after: Position,
    limit: i64,
) -> sqlx::Result<Vec<Seen>> {
    let query = sqlx::query_as(sql).bind(job_id).bind(user).bind(after.as_i64()).bind(limit);
    let rows: Vec<(i64, Uuid, bool)> = query.fetch_all(connection).await?;
    let seen = |(position, target, reached)| {
        Some(Seen { position: Position::from_i64(position), target: UserId::new(target)?, reached })
    };
    Ok(rows.into_iter().filter_map(seen).collect())
}

/// Returns the accounts that are still in a list. An erase removes its account from all lists; under the lock on the
/// head, this distinguishes an erased account from a new one with the same id.
pub async fn still_listed(
    connection: &mut PgConnection,
    job_id: Uuid,
    users: &[UserId],
) -> sqlx::Result<Vec<UserId>> {
    let listed: Vec<Uuid> = sqlx::query_scalar(
        "-- job_targets_still
         SELECT user_id FROM job_targets WHERE job_id = $1 AND user_id = ANY($2) ORDER BY position",
    )
    .bind(job_id)
    .bind(users.iter().map(|user| user.uuid()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(listed.into_iter().filter_map(UserId::new).collect())
}

/// Deletes jobs that never started, and the lists of jobs that have ended or never started.
pub async fn delete_ended(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(
        "-- jobs_discard_old
         DELETE FROM jobs WHERE state = 'preparing' AND updated_at < now() - interval '1 hour'",
    )
    .execute(&mut *connection)
    .await?;
    let ended: Vec<Uuid> = sqlx::query_scalar(
        "-- job_targets_ended
         WITH RECURSIVE listed AS (
             (SELECT job_id FROM job_targets ORDER BY job_id LIMIT 1)
             UNION ALL
             SELECT (SELECT t.job_id FROM job_targets AS t WHERE t.job_id > listed.job_id ORDER BY t.job_id LIMIT 1)
             FROM listed WHERE listed.job_id IS NOT NULL
         )
         SELECT job_id FROM listed
         WHERE job_id IS NOT NULL AND NOT EXISTS (
             SELECT FROM jobs WHERE jobs.job_id = listed.job_id AND state IN ('preparing', 'running'))",
    )
    .fetch_all(&mut *connection)
    .await?;
    for job_id in ended {
        delete(connection, job_id).await?;
    }
    Ok(())
}

async fn delete(connection: &mut PgConnection, job_id: Uuid) -> sqlx::Result<()> {
    loop {
        let deleted = sqlx::query(
            "-- job_targets_delete
             DELETE FROM job_targets WHERE job_id = $1 AND position IN (
                 SELECT position FROM job_targets WHERE job_id = $1 ORDER BY position LIMIT $2)",
        )
        .bind(job_id)
        .bind(CHUNK as i64)
        .execute(&mut *connection)
        .await?;
        if deleted.rows_affected() == 0 {
            return Ok(());
        }
    }
}

/// Moves the lists of jobs that 0.1.0 started from their cursors into the table.
pub async fn adopt(connection: &mut PgConnection) -> sqlx::Result<()> {
    let old: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
        "-- jobs_of_0_1
         SELECT job_id, cursor FROM jobs
         WHERE state = 'running' AND kind = 'replace_following' AND cursor IS NOT NULL",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (job_id, cursor) in old {
        let Some(targets) = listed_in(&cursor) else {
            tracing::error!(%job_id, "the list of a job that an earlier version started cannot be read");
            super::jobs::fail(connection, job_id, super::jobs::LIST_UNREADABLE).await?;
            continue;
        };
        delete(connection, job_id).await?;
        let mut transaction = connection.begin().await?;
        write(&mut transaction, job_id, &targets).await?;
        // A process of 0.1.0 may have changed the cursor since.
        let adopted = sqlx::query(
            "-- jobs_adopt
             UPDATE jobs SET kind = $2, cursor = NULL WHERE job_id = $1 AND state = 'running' AND cursor = $3",
        )
        .bind(job_id)
        .bind(JobKind::ReplaceFollowing.stored())
        .bind(&cursor)
        .execute(&mut *transaction)
        .await?;
        if adopted.rows_affected() == 0 {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
            tracing::info!(%job_id, targets = targets.len(), "took over the list of a job of an earlier version");
        }
    }
    Ok(())
}

/// The list in a cursor of 0.1.0: a tag, the length as a variable-length integer, 16 bytes for each account.
fn listed_in(cursor: &[u8]) -> Option<Vec<UserId>> {
    const TAG: u8 = 2;
    let (tag, rest) = cursor.split_first()?;
    let (first, rest) = rest.split_first()?;
    // 251 to 253: the length follows in 2, 4 or 8 bytes.
    let (length, rest) = match *first {
        251 => rest.split_first_chunk().map(|(n, rest)| (u64::from(u16::from_le_bytes(*n)), rest))?,
        252 => rest.split_first_chunk().map(|(n, rest)| (u64::from(u32::from_le_bytes(*n)), rest))?,
        253 => rest.split_first_chunk().map(|(n, rest)| (u64::from_le_bytes(*n), rest))?,
        length @ 0..251 => (u64::from(length), rest),
        _ => return None,
    };
    let (ids, []) = rest.as_chunks::<16>() else { return None };
    if *tag != TAG || ids.len() as u64 != length {
        return None;
    }
    ids.iter().map(|id| UserId::new(Uuid::from_bytes(*id))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_0_1_0_are_readable() {
        let user = |n: u128| UserId::new(Uuid::from_u128(n)).expect("not nil");
        let bytes = |head: &[u8], n: u128| {
            let ids = (1..=n).flat_map(|n| n.to_be_bytes());
            head.iter().copied().chain(ids).collect::<Vec<u8>>()
        };
        assert_eq!(listed_in(&[2, 0]), Some(vec![]));
        assert_eq!(listed_in(&bytes(&[2, 1], 1)), Some(vec![user(1)]));
        let long = listed_in(&bytes(&[2, 251, 44, 1], 300)).expect("300 accounts");
        assert_eq!((long.len(), long[299]), (300, user(300)));
        for wrong in [&[][..], &[0, 5], &[2], &[2, 1, 7], &[1, 251, 44, 1]] {
            assert_eq!(listed_in(wrong), None, "{wrong:?}");
        }
    }
}
