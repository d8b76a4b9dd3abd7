//! Erase: no data of the account is left, and its id can be used again.

use proto::command::v1::JobState;
use proto::error::Reason;
use proto::event::{AccountOp, Verb};
use tests::jobs::{self, OnAccount};
use tests::refusal::assert_refused;
use tests::truth::Edges;
use tests::{Act, Ask, Endpoints, asks, importing, user, users};
use uuid::Uuid;

use super::{changed, edges};

/// All places in PostgreSQL that could still contain an account, except events, which stay until their messages expire.
const TRACES: &str = "
    SELECT (SELECT count(*) FROM follows WHERE $1 IN (follower_id, following_id))
         + (SELECT count(*) FROM mutes WHERE $1 IN (muter_id, muted_id))
         + (SELECT count(*) FROM blocks WHERE $1 IN (blocker_id, blocked_id))
         + (SELECT count(*) FROM follow_requests WHERE $1 IN (requester_id, target_id))
         + (SELECT count(*) FROM archived_follows WHERE $1 IN (follower_id, following_id))
         + (SELECT count(*) FROM archived_mutes WHERE $1 IN (muter_id, muted_id))
         + (SELECT count(*) FROM archived_blocks WHERE $1 IN (blocker_id, blocked_id))
         + (SELECT count(*) FROM archived_follow_requests WHERE $1 IN (requester_id, target_id))
         + (SELECT count(*) FROM accounts WHERE user_id = $1)
         + (SELECT count(*) FROM replies WHERE actor_id = $1)
         + (SELECT count(*) FROM job_targets WHERE user_id = $1)";

async fn traces(endpoints: &Endpoints, user: proto::UserId) -> i64 {
    sqlx::query_scalar(TRACES)
        .bind(user.uuid())
        .fetch_one(&endpoints.postgres().await)
        .await
        .expect("traces are countable")
}

#[tokio::test]
async fn an_erased_id_is_a_new_account() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [x, fan, idol, foe, hidden] = users();
    OnAccount::SetPrivate(true).finish(&commands, x).await;
    let once = Ask::new(Act::Follow, x, idol).under(Uuid::new_v4());
    let first = once.done(&commands).await;
    changed(&commands, Act::Follow, fan, x).await;
    changed(&commands, Act::Accept, x, fan).await;
    changed(&commands, Act::Follow, foe, x).await;
    changed(&commands, Act::Block, x, foe).await;
    changed(&commands, Act::Mute, foe, x).await;
    changed(&commands, Act::Follow, x, hidden).await;
    OnAccount::Archive.finish(&commands, hidden).await;
    assert!(traces(&endpoints, x).await > 5);

    let erased = OnAccount::Erase.send(&commands, x, Some(Uuid::new_v4())).await.expect("an erase");
    assert!(erased.changed);
    jobs::wait(&commands, &erased.job_id).await;
    let job = jobs::get(&commands, &erased.job_id).await.expect("the job");
    assert_eq!((job.kind.as_str(), job.state()), ("erase", JobState::Done));
    assert_eq!(edges(&endpoints, &[x]).await, Edges::new());
    assert_eq!(traces(&endpoints, x).await, 0);
    edges(&endpoints, &[fan, idol, foe]).await;

    let events = tests::truth::events_from(&endpoints, crate::commands::revision(&erased.written_at)).await;
    let told: Vec<_> = events
        .iter()
        .flat_map(|event| event.accounts.iter().map(move |change| (event, change)))
        .filter(|(_, change)| change.user == x)
        .map(|(event, change)| (event.verb, change.op))
        .collect();
    assert_eq!(
        told,
        [(Verb::EraseAccount, AccountOp::EraseStarted), (Verb::EraseAccount, AccountOp::Erased)]
    );

    OnAccount::Restore.finish(&commands, hidden).await;
    assert_eq!(edges(&endpoints, &[hidden]).await, Edges::new(), "it does not come back with others");
    // The id is that of a new account: public, without edges, and without records of requests.
    assert!(changed(&commands, Act::Follow, foe, x).await.relationship.following);
    let again = once.done(&commands).await;
    assert!(again.changed && again.written_at > first.written_at);
}

#[tokio::test]
async fn unknown_and_archived_accounts_can_be_erased() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [x, y] = users();
    OnAccount::Erase.finish(&commands, x).await;
    assert_eq!(traces(&endpoints, x).await, 0);

    changed(&commands, Act::Follow, x, y).await;
    OnAccount::Archive.finish(&commands, x).await;
    assert!(OnAccount::Erase.finish(&commands, x).await.changed);
    assert_eq!(traces(&endpoints, x).await, 0);
    assert!(!OnAccount::Restore.finish(&commands, x).await.changed, "there is nothing to restore");
}

#[tokio::test]
async fn a_repeated_erase_leaves_the_next_account_alone() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [x, fan] = users();
    let request = Some(Uuid::new_v4());
    let erased = OnAccount::Erase.send(&commands, x, request).await.expect("an erase");
    jobs::wait(&commands, &erased.job_id).await;
    changed(&commands, Act::Follow, fan, x).await;
    let again = OnAccount::Erase.send(&commands, x, request).await.expect("a repeat");
    assert_eq!((again.changed, &again.job_id), (false, &erased.job_id));
    assert_eq!(edges(&endpoints, &[x]).await.len(), 1);

    // Another request erases the account that exists now, and the repeat remains a repeat.
    let other = OnAccount::Erase.send(&commands, x, Some(Uuid::new_v4())).await.expect("an erase");
    assert!(other.changed);
    jobs::wait(&commands, &other.job_id).await;
    assert_eq!(edges(&endpoints, &[x]).await, Edges::new());
    let again = OnAccount::Erase.send(&commands, x, request).await.expect("a repeat");
    assert_eq!((again.changed, &again.job_id), (false, &erased.job_id));
}

/// I6, for a request that did not start the job.
#[tokio::test]
async fn a_repeat_of_a_joined_erase_leaves_the_next_account_alone() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [x, fan] = users();
    let fans: Vec<_> = (0..10_000).map(|_| (user().to_string(), x.to_string())).collect();
    importing::all(&mut commands.clone(), &fans, 1_000).await;
    let [first, second] = [(); 2].map(|()| Some(Uuid::new_v4()));
    let erased = OnAccount::Erase.send(&commands, x, first).await.expect("an erase");
    let joined = OnAccount::Erase.send(&commands, x, second).await.expect("the job that runs");
    assert_eq!((erased.changed, joined.changed, &joined.job_id), (true, false, &erased.job_id));
    jobs::wait(&commands, &erased.job_id).await;
    assert_eq!(traces(&endpoints, x).await, 0);

    changed(&commands, Act::Follow, fan, x).await;
    for request in [first, second] {
        let again = OnAccount::Erase.send(&commands, x, request).await.expect("a repeat");
        assert_eq!((again.changed, &again.job_id), (false, &erased.job_id));
    }
    assert_eq!(edges(&endpoints, &[x]).await.len(), 1);
}

#[tokio::test]
async fn commands_on_an_account_being_erased_are_refused() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [x, y] = users();
    let fans: Vec<_> = (0..10_000).map(|_| (user().to_string(), x.to_string())).collect();
    importing::all(&mut commands.clone(), &fans, 1_000).await;
    let erased = OnAccount::Erase.send(&commands, x, None).await.expect("an erase");

    let mut refused = Vec::new();
    for act in [Act::Follow, Act::Unfollow, Act::Block, Act::Mute] {
        for (actor, other) in [(x, y), (y, x)] {
            refused.push(Ask::new(act, actor, other).send(&commands).await.err());
        }
    }
    refused.push(OnAccount::SetPrivate(true).send(&commands, x, None).await.err());
    refused.push(OnAccount::Archive.send(&commands, x, None).await.err());
    refused.push(jobs::replace_following(&commands, y, &[x], None, false).await.err());
    refused.push(asks::batch(&commands, &[Ask::new(Act::Follow, y, x)], true, None).await.err());
    let again = OnAccount::Erase.send(&commands, x, None).await.expect("again");
    let edge = proto::command::v1::ImportEdge {
        source_id: y.to_string(),
        target_id: x.to_string(),
        ..Default::default()
    };
    let chunk = proto::command::v1::ImportEdgesRequest { edges: vec![edge], ..Default::default() };
    let imported = importing::chunk(&mut commands.clone(), chunk).await.expect("a chunk");
    let job = jobs::get(&commands, &erased.job_id).await.expect("the job");
    assert_eq!(job.state(), JobState::Running, "the job outlives a dozen commands: {job:?}");

    for status in refused {
        assert_refused(&status.expect("refused"), Reason::AccountErasing, None);
    }
    assert_eq!((again.changed, &again.job_id), (false, &erased.job_id));
    assert_eq!(imported.refused.first().map(|edge| edge.reason()), Some(Reason::AccountErasing));
    jobs::wait(&commands, &erased.job_id).await;
    assert_eq!(traces(&endpoints, x).await, 0);
    changed(&commands, Act::Follow, y, x).await;
}

#[tokio::test]
async fn an_unknown_job_is_not_found() {
    let commands = Endpoints::shared().commands();
    let status = jobs::get(&commands, &user().to_string()).await.expect_err("no such job");
    assert_refused(&status, Reason::JobNotFound, None);
    let status = jobs::get(&commands, "").await.expect_err("no id");
    assert_refused(&status, Reason::FieldRequired, Some("job_id"));
}
