//! ReplaceFollowing: at once, as a job, and concurrent with other commands.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::UserId;
use proto::command::v1::{JobState, ReplaceFollowingRequest, ReplaceFollowingResponse};
use proto::error::Reason;
use proto::event::{EdgeKind, Verb};
use tests::jobs::{self, OnAccount, replace_following};
use tests::refusal::assert_refused;
use tests::truth::postgres::{Snapshot, snapshot_of};
use tests::{Act, Ask, importing, until, user, users};

use super::Shared;
use super::gathering::Gathering;

fn sorted(ids: &[String]) -> Vec<String> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

fn texts(users: &[UserId]) -> Vec<String> {
    sorted(&users.iter().map(UserId::to_string).collect::<Vec<_>>())
}

/// The accounts that an account follows, newest first.
fn following(snapshot: &Snapshot, actor: UserId) -> Vec<UserId> {
    let of = |kind| move |key: &&proto::event::EdgeKey| key.kind == kind && key.source == actor;
    let by_place: BTreeMap<_, _> = snapshot
        .edges
        .keys()
        .filter(of(EdgeKind::Follow))
        .map(|key| (std::cmp::Reverse(snapshot.edges[key].position), key.target))
        .collect();
    by_place.into_values().collect()
}

#[tokio::test]
async fn a_dry_run_gives_the_answer_and_changes_nothing() {
    let shared = Shared::new();
    let [a, stays, goes, p, q, new, newer] = users();
    for private in [p, q] {
        OnAccount::SetPrivate(true).finish(&shared.commands, private).await;
    }
    for target in [stays, goes, q] {
        shared.changed(Act::Follow, a, target).await;
    }
    let old = shared.edge(EdgeKind::Follow, a, stays).await.expect("a follow");
    let wanted = [newer, new, stays, p, new];
    let pool = shared.endpoints.postgres().await;
    let before = snapshot_of(&pool, &[a]).await;

    let check = |answer: &ReplaceFollowingResponse| {
        assert!(answer.changed && answer.job_id.is_empty());
        assert_eq!(sorted(&answer.added), texts(&[new, newer]));
        assert_eq!(sorted(&answer.removed), texts(&[goes, q]), "a pending request is withdrawn");
        assert_eq!(answer.requested, texts(&[p]));
    };
    let dry = replace_following(&shared.commands, a, &wanted, None, true).await.expect("a dry run");
    check(&dry);
    assert_eq!(snapshot_of(&pool, &[a]).await.edges, before.edges);

    let answer = replace_following(&shared.commands, a, &wanted, None, false).await.expect("replaced");
    check(&answer);
    assert_eq!(shared.event(&answer.written_at).await.verb, Verb::ReplaceFollowing);
    let after = snapshot_of(&pool, &[a]).await;
    assert_eq!(following(&after, a), [newer, new, stays], "the first given is the newest");
    assert_eq!(shared.edge(EdgeKind::Follow, a, stays).await, Some(old), "date and place stay");
    assert!(shared.edge(EdgeKind::FollowRequest, a, p).await.is_some());

    let again = replace_following(&shared.commands, a, &wanted, None, false).await.expect("the same");
    assert!(!again.changed);
    assert_eq!((again.added.len(), again.removed.len(), again.requested.len()), (0, 0, 0));
    let none = replace_following(&shared.commands, a, &[], None, false).await.expect("an empty list");
    assert_eq!(sorted(&none.removed), texts(&[newer, new, stays, p]));
}

#[tokio::test]
async fn removed_accounts_keep_their_other_edges() {
    let shared = Shared::new();
    let [a, left, fan, foe, idol] = users();
    for (act, actor, other) in
        [(Act::Follow, a, left), (Act::Follow, fan, left), (Act::Follow, left, idol), (Act::Block, left, foe)]
    {
        shared.changed(act, actor, other).await;
    }
    OnAccount::SetPrivate(true).finish(&shared.commands, left).await;
    let answer = replace_following(&shared.commands, a, &[idol], None, false).await.expect("replaced");
    assert_eq!((answer.removed, answer.added), (texts(&[left]), texts(&[idol])));
    let after = snapshot_of(&shared.endpoints.postgres().await, &[a, left, idol]).await;
    after.assert_consistent();
    let counts = after.accounts[&left].counts;
    assert_eq!((counts.followers, counts.following, counts.blocking), (1, 1, 1));
    assert!(after.accounts[&left].private);
    let event = shared.event(&answer.written_at).await;
    let told = event.counts.iter().find(|counts| counts.user == left).expect("its counts changed");
    assert_eq!((told.followers, told.following, told.blocking), (1, 1, 1));
}

#[tokio::test]
async fn one_account_that_cannot_be_followed_stops_all() {
    let shared = Shared::new();
    let [a, b, blocker, hidden] = users();
    shared.changed(Act::Block, blocker, a).await;
    OnAccount::Archive.finish(&shared.commands, hidden).await;
    for (targets, reason) in
        [([b, blocker], Reason::Blocked), ([b, hidden], Reason::AccountArchived), ([b, a], Reason::SelfEdge)]
    {
        for dry_run in [true, false] {
            let refused = replace_following(&shared.commands, a, &targets, None, dry_run).await;
            assert_refused(&refused.expect_err("refused"), reason, Some("target_ids[1]"));
        }
    }
    assert_eq!(shared.edge(EdgeKind::Follow, a, b).await, None);
}

#[tokio::test]
async fn a_later_list_supersedes_the_running_job() {
    let shared = Shared::new();
    let a = user();
    let pool = shared.endpoints.postgres().await;
    let first: Vec<_> = (0..1_500).map(|_| user()).collect();
    let answer = replace_following(&shared.commands, a, &first, None, false).await.expect("a job");
    assert!(answer.changed && !answer.job_id.is_empty());
    jobs::wait(&shared.commands, &answer.job_id).await;
    let job = jobs::get(&shared.commands, &answer.job_id).await.expect("the job");
    assert_eq!((job.kind.as_str(), job.done, job.total), ("replace_following", 1_500, 1_500));
    let after = snapshot_of(&pool, &[a]).await;
    after.assert_consistent();
    assert!(following(&after, a) == first, "the order given, the first as the newest");

    // Removes 1,400, adds 1,400, keeps 100. Before it is done, another list is sent.
    let second: Vec<_> = (0..1_400).map(|_| user()).chain(first[..100].iter().copied()).collect();
    let third: Vec<_> = (0..10).map(|_| user()).chain(first[..200].iter().copied()).collect();
    let overtaken = replace_following(&shared.commands, a, &second, None, false).await.expect("a job");
    let last = replace_following(&shared.commands, a, &third, None, false).await.expect("another");
    jobs::wait(&shared.commands, &last.job_id).await;
    let mut listed = following(&snapshot_of(&pool, &[a]).await, a);
    let mut wanted = third.clone();
    listed.sort();
    wanted.sort();
    assert!(listed == wanted, "{} follows instead of {}", listed.len(), wanted.len());
    let job = jobs::get(&shared.commands, &overtaken.job_id).await.expect("the job");
    assert_ne!(job.state(), JobState::Running, "{job:?}");
}

#[tokio::test]
async fn a_long_list_can_be_emptied() {
    let shared = Shared::new();
    let a = user();
    let edges: Vec<_> = (0..1_200).map(|_| (a.to_string(), user().to_string())).collect();
    importing::all(&mut shared.commands.clone(), &edges, 1_000).await;
    let answer = replace_following(&shared.commands, a, &[], None, false).await.expect("a job");
    assert_eq!((answer.removed_count, answer.job_id.is_empty()), (1_200, false), "{answer:?}");
    assert_eq!(answer.removed, [""; 0], "a job does it");
    jobs::wait(&shared.commands, &answer.job_id).await;
    let job = jobs::get(&shared.commands, &answer.job_id).await.expect("the job");
    assert_eq!((job.state(), job.done), (JobState::Done, 1_200), "{job:?}");
    let after = snapshot_of(&shared.endpoints.postgres().await, &[a]).await;
    assert_eq!(following(&after, a), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_lists_in_one_batch_the_second_stays() {
    let shared = Shared::new();
    let a = user();
    let pool = shared.endpoints.postgres().await;
    let small: Vec<_> = (0..10).map(|_| user()).collect();
    let large: Vec<_> = (0..1_500).map(|_| user()).collect();
    let mut gathering = Gathering::begin(&shared.endpoints).await;
    let replace = |targets: &[UserId]| {
        let (commands, targets) = (gathering.commands.clone(), targets.to_vec());
        async move { replace_following(&commands, a, &targets, None, false).await }
    };
    let (first, second) = (replace(&small), replace(&large));
    let first = gathering.queue(first).await;
    let second = gathering.queue(second).await;
    let _service = gathering.release().await;
    first.await.expect("no panic").expect("replaced at once");
    let second = second.await.expect("no panic").expect("a job");
    jobs::wait(&shared.commands, &second.job_id).await;
    let job = jobs::get(&shared.commands, &second.job_id).await.expect("the job");
    assert_eq!(job.state(), JobState::Done, "{job:?}");
    assert!(following(&snapshot_of(&pool, &[a]).await, a) == large, "the second list");
}

#[tokio::test]
async fn a_call_that_ends_at_its_deadline_leaves_no_list() {
    let shared = Shared::new();
    let a = user();
    let pool = shared.endpoints.postgres().await;
    let lists = |wanted: i64| {
        let pool = pool.clone();
        async move {
            let count = "SELECT count(*) FROM jobs WHERE user_id = $1 AND state = 'preparing'";
            let found: i64 =
                sqlx::query_scalar(count).bind(a.uuid()).fetch_one(&pool).await.expect("a count");
            if found == wanted { Ok(()) } else { Err(format!("{found} lists")) }
        }
    };
    let mut lock = pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM log_lock FOR UPDATE").execute(&mut *lock).await.expect("the lock");
    let mut request = tonic::Request::new(ReplaceFollowingRequest {
        actor_id: a.to_string(),
        target_ids: (0..2_000).map(|_| user().to_string()).collect(),
        ..ReplaceFollowingRequest::default()
    });
    // Long enough for a busy machine to plan, and shorter than the lock timeout of the head.
    request.set_timeout(Duration::from_secs(3));
    let mut commands = shared.commands.clone();
    let listed = until("a list without a running job", || lists(1));
    let (outcome, ()) = tokio::join!(commands.replace_following(request), listed);
    outcome.expect_err("the head was locked");
    // While the head is locked: the command may be in a transaction already, which would start the job.
    until("the list to be discarded", || lists(0)).await;
    lock.rollback().await.expect("it is given back");
    shared.changed(Act::Follow, a, user()).await;
    assert_eq!(following(&snapshot_of(&pool, &[a]).await, a).len(), 1, "the replacement did not happen");
}

#[tokio::test]
async fn an_account_that_is_erased_meanwhile_is_not_followed_again() {
    let shared = Shared::new();
    let [a, x] = users();
    // The first account is added last.
    let wanted: Vec<_> = std::iter::once(x).chain((0..6_000).map(|_| user())).collect();
    let replaced = replace_following(&shared.commands, a, &wanted, None, false).await.expect("a job");
    let erased = OnAccount::Erase.send(&shared.commands, x, None).await.expect("an erase");
    for job_id in [&erased.job_id, &replaced.job_id] {
        jobs::wait(&shared.commands, job_id).await;
    }
    let pool = shared.endpoints.postgres().await;
    assert!(following(&snapshot_of(&pool, &[a]).await, a) == wanted[1..], "all but the erased one");
}

#[tokio::test]
async fn hidden_follows_are_neither_reported_nor_ended() {
    let shared = Shared::new();
    let [a, hidden, shown, asked] = users();
    OnAccount::SetPrivate(true).finish(&shared.commands, asked).await;
    for target in [hidden, shown, asked] {
        shared.changed(Act::Follow, a, target).await;
    }
    let old = shared.edge(EdgeKind::Follow, a, hidden).await.expect("a follow");
    for target in [hidden, asked] {
        OnAccount::Archive.finish(&shared.commands, target).await;
    }
    for dry_run in [true, false] {
        let answer = replace_following(&shared.commands, a, &[], None, dry_run).await.expect("replaced");
        assert_eq!(answer.removed, texts(&[shown]), "dry run: {dry_run}");
        assert_eq!((answer.changed, answer.removed_count), (true, 1));
    }
    // The same list with a job.
    let many: Vec<_> = (0..1_001).map(|_| user()).collect();
    let answer = replace_following(&shared.commands, a, &many, None, false).await.expect("a job");
    jobs::wait(&shared.commands, &answer.job_id).await;
    let answer = replace_following(&shared.commands, a, &[], None, false).await.expect("a job");
    assert_eq!((answer.removed_count, answer.job_id.is_empty()), (1_001, false));
    jobs::wait(&shared.commands, &answer.job_id).await;
    for target in [hidden, asked] {
        OnAccount::Restore.finish(&shared.commands, target).await;
    }
    assert_eq!(shared.edge(EdgeKind::Follow, a, hidden).await, Some(old), "date and place stay");
    assert!(shared.edge(EdgeKind::FollowRequest, a, asked).await.is_some());
}

#[tokio::test]
async fn an_account_above_its_cap_can_shorten_its_list() {
    let shared = Shared::new();
    let a = user();
    // The cap does not apply to an import; this one is 500 above the default.
    let followed: Vec<_> = (0..8_000).map(|_| user()).collect();
    let edges: Vec<_> = followed.iter().map(|target| (a.to_string(), target.to_string())).collect();
    importing::all(&mut shared.commands.clone(), &edges, 1_000).await;
    let fewer = replace_following(&shared.commands, a, &followed[..7_900], None, false).await.expect("fewer");
    assert_eq!((fewer.removed_count, fewer.added_count), (100, 0));
    let swapped: Vec<_> = followed[..7_800].iter().copied().chain([user()]).collect();
    for dry_run in [true, false] {
        let status = replace_following(&shared.commands, a, &swapped, None, dry_run).await.expect_err("more");
        assert_refused(&status, Reason::FollowCapReached, None);
    }
}

#[tokio::test]
async fn a_dry_run_needs_no_lock() {
    let shared = Shared::new();
    let [a, b] = users();
    let pool = shared.endpoints.postgres().await;
    let mut lock = pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM log_lock FOR UPDATE").execute(&mut *lock).await.expect("the lock");
    let answer = replace_following(&shared.commands, a, &[b], None, true).await.expect("a dry run");
    lock.rollback().await.expect("it is given back");
    assert_eq!(answer.added, texts(&[b]));
}

#[tokio::test]
async fn a_very_long_answer_has_counts_only() {
    let shared = Shared::new();
    let a = user();
    let followed: Vec<_> = (0..60_000).map(|_| (a.to_string(), user().to_string())).collect();
    importing::all(&mut shared.commands.clone(), &followed, 1_000).await;
    let dry = replace_following(&shared.commands, a, &[], None, true).await.expect("a dry run");
    assert_eq!((dry.removed_count, dry.removed.len()), (60_000, 0));
    let id = Some(uuid::Uuid::new_v4());
    let first = replace_following(&shared.commands, a, &[], id, false).await.expect("a job");
    let again = replace_following(&shared.commands, a, &[], id, false).await.expect("the first answer");
    assert_eq!(first, again);
    assert_eq!((first.removed_count, first.removed.len(), first.job_id.is_empty()), (60_000, 0, false));
    jobs::wait(&shared.commands, &first.job_id).await;
    let left = snapshot_of(&shared.endpoints.postgres().await, &[a]).await;
    assert_eq!(following(&left, a), []);
}

#[tokio::test]
async fn a_list_is_replaced_while_it_changes() {
    let shared = Shared::new();
    let a = user();
    let wanted: Vec<_> = (0..300).map(|_| user()).collect();
    let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
    let changing = {
        let (commands, stop) = (shared.commands.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let other = user();
                Ask::new(Act::Follow, a, other).done(&commands).await;
                Ask::new(Act::Unfollow, a, other).done(&commands).await;
            }
        })
    };
    let replaced = replace_following(&shared.commands, a, &wanted, None, false).await.expect("replaced");
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    changing.await.expect("every follow succeeds");
    jobs::wait(&shared.commands, &replaced.job_id).await;
    let listed = following(&snapshot_of(&shared.endpoints.postgres().await, &[a]).await, a);
    assert!(listed == wanted, "{} follows", listed.len());
}
