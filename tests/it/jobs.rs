//! Archive and restore (I12): which edges are hidden, and which come back.

mod erase;
mod failing;
mod kills;
mod lists;

use proto::UserId;
use proto::error::Reason;
use proto::event::{AccountOp, EdgeKey, EdgeKind, EdgeOp};
use tests::clients::{self, List, fresh};
use tests::jobs::OnAccount;
use tests::refusal::assert_refused;
use tests::truth::postgres::snapshot_of;
use tests::truth::{Counts, Edges};
use tests::{Act, Ask, Commands, Endpoints, asks, users};

async fn changed(commands: &Commands, act: Act, actor: UserId, other: UserId) -> asks::Answer {
    let answer = Ask::new(act, actor, other).done(commands).await;
    assert!(answer.changed, "{act:?} of {other} by {actor}: {answer:?}");
    answer
}

async fn edges(endpoints: &Endpoints, users: &[UserId]) -> Edges {
    let snapshot = snapshot_of(&endpoints.postgres().await, users).await;
    snapshot.assert_consistent();
    snapshot.edges
}

fn key(kind: EdgeKind, source: UserId, target: UserId) -> EdgeKey {
    EdgeKey { kind, source, target }
}

#[tokio::test]
async fn an_archived_account_is_seen_nowhere_and_comes_back_as_it_was() {
    let endpoints = Endpoints::shared();
    let (commands, mut queries) = (endpoints.commands(), endpoints.queries());
    let [x, fan, idol, foe, private] = users();
    OnAccount::SetPrivate(true).finish(&commands, private).await;
    changed(&commands, Act::Follow, fan, x).await;
    changed(&commands, Act::Follow, x, idol).await;
    changed(&commands, Act::Follow, x, private).await;
    changed(&commands, Act::Block, x, foe).await;
    assert!(Ask::new(Act::Mute, x, idol).until(asks::in_hours(5)).done(&commands).await.changed);
    changed(&commands, Act::Mute, foe, x).await;
    changed(&commands, Act::Follow, fan, idol).await;
    let before = edges(&endpoints, &[x]).await;
    assert_eq!(before.len(), 6);

    let archived = OnAccount::Archive.finish(&commands, x).await;
    assert!(archived.changed && !archived.job_id.is_empty());
    assert_eq!(edges(&endpoints, &[x]).await, Edges::new());
    let snapshot = snapshot_of(&endpoints.postgres().await, &[x, fan, idol]).await;
    assert_eq!(snapshot.accounts[&x].counts, Counts::default());
    assert_eq!(snapshot.accounts[&x].state, "archived");
    assert_eq!(snapshot.accounts[&fan].counts.following, 1, "the counts of others follow");
    assert_eq!(snapshot.accounts[&idol].counts.followers, 1);
    let written = changed(&commands, Act::Mute, fan, idol).await.written_at;
    let (fan_text, x_text) = (fan.to_string(), x.to_string());
    let seen = clients::check(&mut queries, &fan_text, &x_text, fresh(&written)).await.expect("a check");
    assert!(!seen.following, "nor through the read model");
    let listed = clients::walk(&mut queries, List::Following, &fan_text, 10, fresh(&written)).await;
    assert_eq!(listed.expect("a list"), [idol.to_string()]);
    assert!(!OnAccount::Archive.finish(&commands, x).await.changed, "archived already");

    for act in [Act::Follow, Act::Mute, Act::Unfollow, Act::Block, Act::Unblock, Act::Accept] {
        let status = Ask::new(act, x, idol).refused(&commands).await;
        assert_refused(&status, Reason::AccountArchived, None);
    }
    for act in [Act::Follow, Act::Mute, Act::Accept] {
        let status = Ask::new(act, idol, x).refused(&commands).await;
        assert_refused(&status, Reason::AccountArchived, None);
    }
    let status = OnAccount::SetPrivate(true).send(&commands, x, None).await.expect_err("archived");
    assert_refused(&status, Reason::AccountArchived, None);

    let restored = OnAccount::Restore.finish(&commands, x).await;
    assert!(restored.changed);
    assert_eq!(edges(&endpoints, &[x]).await, before, "old dates, old places");
    assert!(!OnAccount::Restore.finish(&commands, x).await.changed);
    changed(&commands, Act::Unfollow, x, idol).await;
}

#[tokio::test]
async fn edges_ended_while_hidden_stay_ended() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [x, leaver, remover, blocker, muter, asker, patient] = users();
    changed(&commands, Act::Follow, leaver, x).await;
    changed(&commands, Act::Follow, x, remover).await;
    changed(&commands, Act::Follow, x, blocker).await;
    changed(&commands, Act::Follow, blocker, x).await;
    changed(&commands, Act::Mute, muter, x).await;
    changed(&commands, Act::Block, x, muter).await;
    OnAccount::SetPrivate(true).finish(&commands, x).await;
    changed(&commands, Act::Follow, asker, x).await;
    changed(&commands, Act::Follow, patient, x).await;
    OnAccount::Archive.finish(&commands, x).await;

    changed(&commands, Act::Unfollow, leaver, x).await;
    assert!(!Ask::new(Act::Unfollow, leaver, x).done(&commands).await.changed, "removed already");
    changed(&commands, Act::RemoveFollower, remover, x).await;
    changed(&commands, Act::Block, blocker, x).await;
    changed(&commands, Act::Unmute, muter, x).await;
    changed(&commands, Act::Cancel, asker, x).await;
    assert_eq!(edges(&endpoints, &[x]).await, Edges::new(), "none of its edges is visible");

    OnAccount::Restore.finish(&commands, x).await;
    let back: Vec<_> = edges(&endpoints, &[x]).await.into_keys().collect();
    let mut wanted = [
        key(EdgeKind::Block, blocker, x),
        key(EdgeKind::Block, x, muter),
        key(EdgeKind::FollowRequest, patient, x),
    ];
    wanted.sort();
    assert_eq!(back, wanted);
    let status = Ask::new(Act::Follow, x, blocker).refused(&commands).await;
    assert_refused(&status, Reason::Blocked, None);
    changed(&commands, Act::Accept, x, patient).await;
}

#[tokio::test]
async fn a_hidden_block_can_be_ended_and_renewed() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [x, a, b] = users();
    changed(&commands, Act::Block, a, x).await;
    changed(&commands, Act::Block, b, x).await;
    let before = edges(&endpoints, &[x]).await;
    OnAccount::Archive.finish(&commands, x).await;
    changed(&commands, Act::Unblock, a, x).await;
    let at = asks::in_hours(7);
    assert!(Ask::new(Act::Block, b, x).until(at).done(&commands).await.changed);
    assert!(!Ask::new(Act::Block, b, x).until(at).done(&commands).await.changed);
    OnAccount::Restore.finish(&commands, x).await;
    let block = key(EdgeKind::Block, b, x);
    let wanted = Edges::from([(block, tests::truth::Edge { expires_at: Some(at), ..before[&block] })]);
    assert_eq!(edges(&endpoints, &[x]).await, wanted, "the place stays, the date is the last one");
}

#[tokio::test]
async fn an_edge_between_two_archived_accounts_comes_back_with_the_second() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    for first_comes_first in [true, false] {
        let [x, y, z] = users();
        changed(&commands, Act::Follow, x, y).await;
        changed(&commands, Act::Follow, y, x).await;
        changed(&commands, Act::Mute, x, y).await;
        changed(&commands, Act::Follow, x, z).await;
        changed(&commands, Act::Follow, z, y).await;
        let before = edges(&endpoints, &[x, y]).await;
        OnAccount::Archive.finish(&commands, x).await;
        OnAccount::Archive.finish(&commands, y).await;
        assert_eq!(edges(&endpoints, &[x, y]).await, Edges::new());
        let (first, second) = if first_comes_first { (x, y) } else { (y, x) };
        OnAccount::Restore.finish(&commands, first).await;
        let seen: Vec<_> = edges(&endpoints, &[x, y]).await.into_keys().collect();
        assert_eq!(seen.len(), 1, "only what its other end is active for: {seen:?}");
        OnAccount::Restore.finish(&commands, second).await;
        assert_eq!(edges(&endpoints, &[x, y]).await, before);
    }
}

#[tokio::test]
async fn accounts_restored_at_the_same_time_regain_their_edges() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    for _ in 0..5 {
        let [x, y] = users();
        changed(&commands, Act::Follow, x, y).await;
        changed(&commands, Act::Follow, y, x).await;
        let before = edges(&endpoints, &[x, y]).await;
        tokio::join!(OnAccount::Archive.finish(&commands, x), OnAccount::Archive.finish(&commands, y));
        tokio::join!(OnAccount::Restore.finish(&commands, x), OnAccount::Restore.finish(&commands, y));
        assert_eq!(edges(&endpoints, &[x, y]).await, before);
    }
}

#[tokio::test]
async fn events_say_that_an_account_is_hidden_and_shown() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [x, y] = users();
    changed(&commands, Act::Follow, y, x).await;
    for (on_account, told, op) in [
        (OnAccount::Archive, AccountOp::Archived, EdgeOp::Removed),
        (OnAccount::Restore, AccountOp::Restored, EdgeOp::Added),
    ] {
        let started = on_account.finish(&commands, x).await;
        let first = super::commands::revision(&started.written_at);
        let events = tests::truth::events_from(&endpoints, first).await;
        let accounts: Vec<_> = events
            .iter()
            .flat_map(|event| &event.accounts)
            .filter(|change| change.user == x)
            .map(|change| change.op)
            .collect();
        assert_eq!(accounts, [told]);
        let moved: Vec<_> = events
            .iter()
            .flat_map(|event| &event.edges)
            .filter(|change| change.key == key(EdgeKind::Follow, y, x))
            .map(|change| change.op)
            .collect();
        assert_eq!(moved, [op]);
    }
}
