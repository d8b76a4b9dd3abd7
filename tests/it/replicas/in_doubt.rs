//! ReplaceFollowing with more changes than one event holds, whose replies from PostgreSQL are lost.

use std::collections::BTreeSet;

use proto::UserId;
use proto::event::{EdgeKind, MAX_EDGES};
use tests::importing::invites_repeat;
use tests::jobs::{self, replace_following};
use tests::metrics::scrape;
use tests::proxy::CommitLoser;
use tests::truth::postgres::snapshot_of;
use tests::{Own, until, user};
use tokio::task::block_in_place;
use uuid::Uuid;

fn commits_in_doubt(own: &Own) -> f64 {
    let samples = block_in_place(|| scrape(own.pipeline.command.admin_addr()));
    let counted =
        samples.iter().filter(|sample| sample.metric == "followgraph_command_commits_in_doubt_total");
    counted.map(|sample| sample.value).sum()
}

/// Jobs of an account by their states.
async fn job_states(own: &Own, of: UserId) -> Vec<String> {
    let states = "SELECT state FROM jobs WHERE user_id = $1 ORDER BY state";
    let pool = own.endpoints.postgres().await;
    sqlx::query_scalar(states).bind(of.uuid()).fetch_all(&pool).await.expect("the jobs")
}

/// Number of attempts to lose exactly the replies that the test means.
const ATTEMPTS: usize = 10;

/// A job's list is committed first, then its start: each reply is lost once, and repeats start no second job.
pub(super) async fn a_job_is_started_once(own: &Own, proxy: &CommitLoser) {
    for _ in 0..ATTEMPTS {
        if loses_both_replies(own, proxy).await {
            return;
        }
    }
    panic!("other transactions took the losses {ATTEMPTS} times");
}

/// Returns false if the loss met a transaction of another task of the services, which commit at the same time.
async fn loses_both_replies(own: &Own, proxy: &CommitLoser) -> bool {
    let commands = own.endpoints.commands();
    let actor = user();
    let targets: Vec<_> = (0..=MAX_EDGES).map(|_| user()).collect();
    let key = Some(Uuid::new_v4());
    let replace = || replace_following(&commands, actor, &targets, key, false);

    // No job has started: the list is committed, but the call does not know that.
    let lost = proxy.lost();
    proxy.lose(1);
    let Err(refused) = replace().await else { return false };
    assert!(invites_repeat(&refused), "{refused:?}");
    assert_eq!(proxy.lost(), lost + 1);
    until("the list of the call that failed to be removed", || async {
        let states = job_states(own, actor).await;
        if states.is_empty() { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;

    let doubted = commits_in_doubt(own);
    proxy.lose_after(1, 1);
    let started = match replace().await {
        Ok(started) => started,
        Err(refused) => {
            assert!(invites_repeat(&refused), "{refused:?}");
            return false;
        }
    };
    assert!(started.changed && !started.job_id.is_empty(), "{started:?}");
    assert_eq!(proxy.lost(), lost + 2);
    if commits_in_doubt(own) == doubted {
        return false;
    }
    assert_eq!(commits_in_doubt(own), doubted + 1.0);
    for _ in 0..2 {
        assert_eq!(replace().await.expect("the first answer"), started);
    }
    jobs::wait(&commands, &started.job_id).await;
    assert_eq!(replace().await.expect("the first answer"), started);
    assert_eq!(job_states(own, actor).await, ["done"]);
    let followed: BTreeSet<_> = snapshot_of(&own.endpoints.postgres().await, &[actor])
        .await
        .edges
        .keys()
        .filter(|key| key.kind == EdgeKind::Follow && key.source == actor)
        .map(|key| key.target)
        .collect();
    assert_eq!(followed, targets.into_iter().collect());
    true
}
