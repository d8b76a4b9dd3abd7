//! The lists of replacement jobs in the database.

use proto::UserId;
use proto::event::EdgeKind;
use tests::jobs::{self, OnAccount, replace_following};
use tests::{Act, Endpoints, until, user, users};
use uuid::Uuid;

use super::{changed, edges};

/// The accounts that an account follows.
async fn followed(endpoints: &Endpoints, actor: UserId) -> Vec<UserId> {
    let edges = edges(endpoints, &[actor]).await;
    let mut of: Vec<_> =
        edges.keys().filter(|key| key.kind == EdgeKind::Follow && key.source == actor).copied().collect();
    of.sort_by_key(|key| std::cmp::Reverse(edges[key].position));
    of.into_iter().map(|key| key.target).collect()
}

#[tokio::test]
async fn a_job_that_0_1_0_started_is_finished() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [a, left] = users();
    changed(&commands, Act::Follow, a, left).await;
    let wanted: Vec<_> = (0..300).map(|_| user()).collect();
    // The format of 0.1.0: a tag, a marker and the length in two bytes, the ids.
    let length = (wanted.len() as u16).to_le_bytes();
    let cursor: Vec<u8> = [2, 251]
        .into_iter()
        .chain(length)
        .chain(wanted.iter().flat_map(|target| target.uuid().into_bytes()))
        .collect();
    let job_id = Uuid::new_v4();
    let pool = endpoints.postgres().await;
    sqlx::query(
        "INSERT INTO jobs (job_id, kind, user_id, state, total, cursor, created_at, updated_at)
         VALUES ($1, 'replace_following', $2, 'running', 301, $3, now(), now())",
    )
    .bind(job_id)
    .bind(a.uuid())
    .bind(cursor)
    .execute(&pool)
    .await
    .expect("a job of 0.1.0");
    jobs::wait(&commands, &job_id.to_string()).await;
    assert!(followed(&endpoints, a).await == wanted, "the first is the newest");
    let job = jobs::get(&commands, &job_id.to_string()).await.expect("the job");
    assert_eq!((job.kind.as_str(), job.done, job.total), ("replace_following", 301, 301));
}

#[tokio::test]
async fn lists_are_deleted_after_their_jobs() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [a, erased] = users();
    let wanted: Vec<_> = (0..1_200).map(|_| user()).chain([erased]).collect();
    let pool = endpoints.postgres().await;
    let listed = || async {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM job_targets WHERE user_id = ANY($1)")
            .bind(wanted.iter().map(|user| user.uuid()).collect::<Vec<_>>())
            .fetch_one(&pool)
            .await
            .expect("lists are countable")
    };
    changed(&commands, Act::Follow, erased, a).await;
    let replaced = replace_following(&commands, a, &wanted, None, false).await.expect("a job");
    OnAccount::Erase.finish(&commands, erased).await;
    let named: i64 = sqlx::query_scalar("SELECT count(*) FROM job_targets WHERE user_id = $1")
        .bind(erased.uuid())
        .fetch_one(&pool)
        .await
        .expect("lists are countable");
    assert_eq!(named, 0, "an erased account is in no list");
    jobs::wait(&commands, &replaced.job_id).await;
    until("the list to be deleted", || async {
        match listed().await {
            0 => Ok(()),
            left => Err(left.to_string()),
        }
    })
    .await;
    assert!(followed(&endpoints, a).await == wanted[..1_200], "all but the erased one");
}

#[tokio::test]
async fn the_next_job_is_found_by_an_index_without_a_sort() {
    let pool = Endpoints::shared().postgres().await;
    let mut transaction = pool.begin().await.expect("a transaction");
    // Rolled back, so that no worker sees them.
    sqlx::query(
        "INSERT INTO jobs (job_id, kind, user_id, state, created_at, updated_at)
         SELECT gen_random_uuid(), 'erase', gen_random_uuid(), 'running', now(), now() - n * interval '1 second'
         FROM generate_series(1, 20000) AS n",
    )
    .execute(&mut *transaction)
    .await
    .expect("many jobs");
    sqlx::query("ANALYZE jobs").execute(&mut *transaction).await.expect("statistics");
    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN
         SELECT job_id FROM jobs
         WHERE state = 'running' AND kind = ANY('{erase,archive,restore,make_public,replace_list}')
           AND job_id <> ALL('{}'::uuid[])
         ORDER BY updated_at LIMIT 1",
    )
    .fetch_all(&mut *transaction)
    .await
    .expect("a plan");
    transaction.rollback().await.expect("rolled back");
    let plan = plan.join("\n");
    assert!(plan.contains("jobs_running") && !plan.contains("Sort"), "{plan}");
}
