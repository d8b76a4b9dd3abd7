//! Private accounts and requests to follow them.

use proto::UserId;
use proto::command::v1::JobState;
use proto::error::Reason;
use proto::event::{AccountOp, EdgeKind, EdgeOp, Verb};
use tests::jobs::{self, OnAccount};
use tests::refusal::assert_refused;
use tests::truth::postgres::snapshot_of;
use tests::{Act, Ask, asks, until, user, users};

use super::gathering::Gathering;
use super::{Shared, changes};

#[tokio::test]
async fn a_follow_of_a_private_account_is_a_request_until_it_is_accepted() {
    let shared = Shared::new();
    let [a, p] = users();
    let made = OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
    assert!(made.changed && made.job_id.is_empty());
    let event = shared.event(&made.written_at).await;
    assert_eq!((event.verb, event.accounts[0].op), (Verb::SetAccountPrivacy, AccountOp::MadePrivate));
    assert!(!OnAccount::SetPrivate(true).finish(&shared.commands, p).await.changed);

    let asked = shared.changed(Act::Follow, a, p).await;
    assert!(asked.relationship.requested && !asked.relationship.following);
    assert!(!shared.done(Act::Follow, a, p).await.changed, "requested already");
    let accepted = shared.changed(Act::Accept, p, a).await;
    assert!(accepted.relationship.followed_by && !accepted.relationship.request_received);
    let event = shared.event(&accepted.written_at).await;
    assert_eq!((event.verb, event.actor), (Verb::AcceptFollowRequest, Some(p)));
    let mut wanted =
        [(EdgeOp::Added, EdgeKind::Follow, a, p), (EdgeOp::Removed, EdgeKind::FollowRequest, a, p)];
    wanted.sort_by_key(|(_, kind, ..)| *kind);
    assert_eq!(changes(&event), wanted);
    assert!(!shared.done(Act::Accept, p, a).await.changed, "of one who follows");
    assert!(!shared.done(Act::Follow, a, p).await.changed, "a follower need not ask");
    let follows = shared.changed(Act::Follow, p, a).await;
    assert!(follows.relationship.following, "the private account itself follows at once");
}

#[tokio::test]
async fn only_accepting_a_missing_request_is_an_error() {
    let shared = Shared::new();
    let [a, p] = users();
    let status = Ask::new(Act::Accept, p, a).refused(&shared.commands).await;
    assert_refused(&status, Reason::RequestNotFound, None);
    assert!(!shared.done(Act::Reject, p, a).await.changed);
    assert!(!shared.done(Act::Cancel, a, p).await.changed);

    OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
    shared.changed(Act::Follow, a, p).await;
    assert!(!shared.done(Act::Reject, a, p).await.changed, "the one who asks cannot reject");
    assert!(!shared.done(Act::Cancel, p, a).await.changed, "only the requesting account can cancel");
    let rejected = shared.changed(Act::Reject, p, a).await;
    assert!(!rejected.relationship.request_received && !rejected.relationship.followed_by);
    assert_eq!(shared.event(&rejected.written_at).await.verb, Verb::RejectFollowRequest);
    shared.changed(Act::Follow, a, p).await;
    let cancelled = shared.changed(Act::Cancel, a, p).await;
    assert!(!cancelled.relationship.requested);
    shared.changed(Act::Follow, a, p).await;
    let unfollowed = shared.changed(Act::Unfollow, a, p).await;
    assert!(!unfollowed.relationship.requested, "unfollow withdraws a request");
    let status = Ask::new(Act::Accept, p, a).refused(&shared.commands).await;
    assert_refused(&status, Reason::RequestNotFound, None);
}

#[tokio::test]
async fn a_follow_of_an_account_that_became_private_stays() {
    let shared = Shared::new();
    let [a, p] = users();
    shared.changed(Act::Follow, a, p).await;
    OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
    let again = shared.done(Act::Follow, a, p).await;
    assert!(!again.changed && again.relationship.following && !again.relationship.requested);
}

#[tokio::test]
async fn going_public_accepts_what_is_pending() {
    let shared = Shared::new();
    let p = user();
    OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
    let askers: [_; 40] = users();
    for asker in askers {
        assert!(shared.changed(Act::Follow, asker, p).await.relationship.requested);
    }
    let pool = shared.endpoints.postgres().await;
    assert_eq!(snapshot_of(&pool, &[p]).await.accounts[&p].counts.requests_received, 40);

    let public = OnAccount::SetPrivate(false).send(&shared.commands, p, None).await.expect("public");
    assert!(public.changed && !public.job_id.is_empty());
    let event = shared.event(&public.written_at).await;
    assert!(event.accounts.iter().any(|change| change.op == AccountOp::MadePublic && change.user == p));
    // From now on a follow creates no request, although the job is still running.
    let late = user();
    assert!(shared.changed(Act::Follow, late, p).await.relationship.following);
    jobs::wait(&shared.commands, &public.job_id).await;
    let job = jobs::get(&shared.commands, &public.job_id).await.expect("the job");
    assert_eq!((job.state(), job.kind.as_str()), (JobState::Done, "make_public"));
    assert_eq!((job.done, job.total, job.user_id), (40, 40, p.to_string()));

    let after = snapshot_of(&pool, &[p]).await;
    after.assert_consistent();
    let counts = after.accounts[&p].counts;
    assert_eq!((counts.followers, counts.requests_received), (41, 0));
    assert!(!after.accounts[&p].private);
}

#[tokio::test(flavor = "multi_thread")]
async fn public_archived_and_restored_in_one_batch_accepts_requests() {
    let shared = Shared::new();
    let p = user();
    OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
    let askers: [_; 3] = users();
    for asker in askers {
        shared.changed(Act::Follow, asker, p).await;
    }
    let pool = shared.endpoints.postgres().await;
    // No job runs between the commands of one batch.
    let mut gathering = Gathering::begin(&shared.endpoints).await;
    let mut calls = Vec::new();
    for on_account in [OnAccount::SetPrivate(false), OnAccount::Archive, OnAccount::Restore] {
        let commands = gathering.commands.clone();
        calls.push(gathering.queue(async move { on_account.send(&commands, p, None).await }).await);
    }
    let _service = gathering.release().await;
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.expect("no panic").expect("it is done"));
    }
    jobs::wait(&shared.commands, &answers[2].job_id).await;
    until("all requests to be accepted", || async {
        let counts = snapshot_of(&pool, &[p]).await.accounts[&p].counts;
        let done = (counts.followers, counts.requests_received) == (3, 0);
        if done { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    let transactions: i64 = sqlx::query_scalar(
        "SELECT count(DISTINCT created_at) FROM jobs WHERE user_id = $1 AND kind IN ('archive', 'restore')
         OR job_id = (SELECT job_id FROM jobs WHERE user_id = $1 AND kind = 'make_public' ORDER BY created_at LIMIT 1)",
    )
    .bind(p.uuid())
    .fetch_one(&pool)
    .await
    .expect("the jobs");
    assert_eq!(transactions, 1, "one batch");
}

/// The running jobs of an account.
async fn running(shared: &Shared, user: UserId) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM jobs WHERE user_id = $1 AND state = 'running'")
        .bind(user.uuid())
        .fetch_one(&shared.endpoints.postgres().await)
        .await
        .expect("a count")
}

#[tokio::test]
async fn going_public_private_and_public_again_leaves_no_request() {
    let shared = Shared::new();
    let p = user();
    OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
    // Several steps of a job.
    let askers: Vec<_> = (0..900).map(|_| user()).collect();
    let asks: Vec<_> = askers.iter().map(|asker| Ask::new(Act::Follow, *asker, p)).collect();
    for asks in asks.chunks(300) {
        asks::batch(&shared.commands, asks, false, None).await.expect("a batch");
    }
    let pool = shared.endpoints.postgres().await;
    assert_eq!(snapshot_of(&pool, &[p]).await.accounts[&p].counts.requests_received, 900);

    let turn = async |private: bool| {
        OnAccount::SetPrivate(private).send(&shared.commands, p, None).await.expect("it is done")
    };
    let first = turn(false).await;
    let (_, _, _, private) = tokio::join!(
        shared.done(Act::Follow, askers[0], p),
        shared.done(Act::Cancel, askers[450], p),
        shared.done(Act::Block, p, askers[899]),
        turn(true),
    );
    // A follow creates a request again.
    let late = user();
    assert!(private.changed);
    assert!(shared.changed(Act::Follow, late, p).await.relationship.requested);
    let last = turn(false).await;
    assert!(first.changed && last.changed && first.job_id != last.job_id, "each has its own job");

    jobs::wait(&shared.commands, &last.job_id).await;
    until("all jobs to end", || async {
        match running(&shared, p).await {
            0 => Ok(()),
            jobs => Err(format!("{jobs} jobs run")),
        }
    })
    .await;
    let overtaken = jobs::get(&shared.commands, &first.job_id).await.expect("the first job");
    assert_ne!(overtaken.state(), JobState::Running, "{overtaken:?}");
    let after = snapshot_of(&pool, &[p]).await;
    after.assert_consistent();
    let counts = after.accounts[&p].counts;
    assert_eq!((counts.requests_received, counts.blocking), (0, 1), "{counts:?}");
    // All but the blocked one; the one that withdrew its request may have been accepted before.
    assert!((899..=900).contains(&counts.followers), "{counts:?}");
    let blocked = after.edges.keys().any(|key| key.kind == EdgeKind::Follow && key.source == askers[899]);
    assert!(!blocked, "no follow across a block");
}
