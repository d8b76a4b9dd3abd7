//! Removing followers, mutes and blocks (I11).

use proto::error::Reason;
use proto::event::{EdgeKind, EdgeOp, Verb};
use proto::timestamp::to_proto;
use tests::refusal::assert_refused;
use tests::{Act, Ask, asks, users};
use time::OffsetDateTime;

use super::{Shared, changes};

#[tokio::test]
async fn the_followed_side_ends_a_follow() {
    let shared = Shared::new();
    let [a, b] = users();
    shared.changed(Act::Follow, a, b).await;
    shared.changed(Act::Follow, b, a).await;
    let removed = shared.changed(Act::RemoveFollower, b, a).await;
    assert!(!removed.relationship.followed_by && removed.relationship.following);
    let event = shared.event(&removed.written_at).await;
    assert_eq!((event.verb, event.actor), (Verb::RemoveFollower, Some(b)));
    assert_eq!(changes(&event), [(EdgeOp::Removed, EdgeKind::Follow, a, b)]);
    assert!(!shared.done(Act::RemoveFollower, b, a).await.changed, "there is none any more");
    assert!(!shared.done(Act::RemoveFollower, a, tests::user()).await.changed, "there never was one");
}

#[tokio::test]
async fn a_repeated_mute_changes_only_its_end() {
    let shared = Shared::new();
    let [a, b] = users();
    shared.changed(Act::Follow, a, b).await;
    let (soon, later) = (asks::in_hours(1), asks::in_hours(48));
    let mute = Ask::new(Act::Mute, a, b);

    let first = mute.done(&shared.commands).await;
    assert!(first.changed && first.relationship.muting && first.relationship.following);
    assert_eq!(first.relationship.muting_until, None, "permanent");
    let placed = shared.edge(EdgeKind::Mute, a, b).await.expect("a mute");
    assert!(!mute.done(&shared.commands).await.changed, "permanent already");

    for at in [soon, later] {
        let renewed = mute.until(at).done(&shared.commands).await;
        assert!(renewed.changed);
        assert_eq!(renewed.relationship.muting_until, Some(to_proto(at)));
        let event = shared.event(&renewed.written_at).await;
        assert_eq!(changes(&event), [(EdgeOp::Updated, EdgeKind::Mute, a, b)]);
        assert_eq!(event.edges[0].expires_at, Some(at));
        assert!(!mute.until(at).done(&shared.commands).await.changed, "the same date again");
        let now = shared.edge(EdgeKind::Mute, a, b).await.expect("a mute");
        assert_eq!((now.position, now.created_at), (placed.position, placed.created_at));
    }
    let for_good = mute.done(&shared.commands).await;
    assert!(for_good.changed, "an absent date is another one");
    assert_eq!(for_good.relationship.muting_until, None);

    let unmuted = shared.changed(Act::Unmute, a, b).await;
    assert!(!unmuted.relationship.muting && unmuted.relationship.following);
    assert!(!shared.done(Act::Unmute, a, b).await.changed);
    assert!(!shared.done(Act::Unmute, b, a).await.changed, "mutes have a direction");
}

#[tokio::test]
async fn a_block_ends_follows_and_requests_in_one_event_and_unblock_restores_nothing() {
    let shared = Shared::new();
    let [a, b] = users();
    // Both follow each other.
    shared.changed(Act::Follow, a, b).await;
    shared.changed(Act::Follow, b, a).await;
    shared.changed(Act::Mute, a, b).await;
    let blocked = shared.changed(Act::Block, a, b).await;
    let seen = &blocked.relationship;
    assert!(seen.blocking && !seen.following && !seen.followed_by && seen.muting, "{seen:?}");
    let event = shared.event(&blocked.written_at).await;
    assert_eq!((event.verb, event.actor), (Verb::Block, Some(a)));
    let mut severed = [
        (EdgeOp::Removed, EdgeKind::Follow, a, b),
        (EdgeOp::Removed, EdgeKind::Follow, b, a),
        (EdgeOp::Added, EdgeKind::Block, a, b),
    ];
    severed.sort_by_key(|(_, kind, source, target)| (*kind, *source, *target));
    assert_eq!(changes(&event), severed);

    for (actor, other) in [(a, b), (b, a)] {
        let status = Ask::new(Act::Follow, actor, other).refused(&shared.commands).await;
        assert_refused(&status, Reason::Blocked, None);
    }
    assert!(shared.changed(Act::Block, b, a).await.relationship.blocked_by, "both may block");
    let unblocked = shared.changed(Act::Unblock, a, b).await;
    assert!(unblocked.relationship.blocked_by && !unblocked.relationship.blocking);
    let status = Ask::new(Act::Follow, a, b).refused(&shared.commands).await;
    assert_refused(&status, Reason::Blocked, None);
    let unblocked = shared.changed(Act::Unblock, b, a).await;
    let seen = &unblocked.relationship;
    assert!(!seen.following && !seen.followed_by && !seen.blocked_by, "nothing comes back: {seen:?}");
    assert!(!shared.done(Act::Unblock, b, a).await.changed);
    shared.changed(Act::Follow, a, b).await;
}

#[tokio::test]
async fn a_block_ends_pending_requests_too() {
    let shared = Shared::new();
    let [a, b] = users();
    tests::jobs::OnAccount::SetPrivate(true).finish(&shared.commands, a).await;
    tests::jobs::OnAccount::SetPrivate(true).finish(&shared.commands, b).await;
    shared.changed(Act::Follow, a, b).await;
    let asked = shared.changed(Act::Follow, b, a).await;
    assert!(asked.relationship.requested && asked.relationship.request_received);
    let blocked = shared.changed(Act::Block, a, b).await;
    let event = shared.event(&blocked.written_at).await;
    let mut severed = [
        (EdgeOp::Added, EdgeKind::Block, a, b),
        (EdgeOp::Removed, EdgeKind::FollowRequest, a, b),
        (EdgeOp::Removed, EdgeKind::FollowRequest, b, a),
    ];
    severed.sort_by_key(|(_, kind, source, target)| (*kind, *source, *target));
    assert_eq!(changes(&event), severed);
}

#[tokio::test]
async fn a_repeated_block_replaces_its_end() {
    let shared = Shared::new();
    let [a, b] = users();
    let at = asks::in_hours(2);
    let block = Ask::new(Act::Block, a, b);
    assert!(block.until(at).done(&shared.commands).await.changed);
    let again = block.until(at).done(&shared.commands).await;
    assert!(!again.changed);
    assert_eq!(again.relationship.blocking_until, Some(to_proto(at)));
    let for_good = block.done(&shared.commands).await;
    assert!(for_good.changed && for_good.relationship.blocking_until.is_none());
}

#[tokio::test]
async fn dates_that_are_past_or_too_far_away_are_refused() {
    let shared = Shared::new();
    let [a, b] = users();
    let now = OffsetDateTime::now_utc();
    for act in [Act::Mute, Act::Block] {
        for at in [now - time::Duration::minutes(1), now + time::Duration::days(3_660), long_ago()] {
            let status = Ask::new(act, a, b).until(at).refused(&shared.commands).await;
            assert_refused(&status, Reason::InvalidTimestamp, Some("expires_at"));
        }
        let nearly = Ask::new(act, a, b).until(now + time::Duration::days(3_600));
        assert!(nearly.done(&shared.commands).await.changed, "nearly ten years are allowed");
    }
    let beyond = proto::command::v1::MuteRequest {
        actor_id: a.to_string(),
        target_id: b.to_string(),
        expires_at: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -1 }),
        ..Default::default()
    };
    let status = shared.commands.clone().mute(beyond).await.expect_err("no timestamp");
    assert_refused(&status, Reason::InvalidTimestamp, Some("expires_at"));
}

fn long_ago() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH
}

#[tokio::test]
async fn commands_on_oneself_are_refused() {
    let shared = Shared::new();
    let [a] = users();
    for (act, field) in [
        (Act::Follow, "target_id"),
        (Act::Unfollow, "target_id"),
        (Act::RemoveFollower, "follower_id"),
        (Act::Mute, "target_id"),
        (Act::Unmute, "target_id"),
        (Act::Block, "target_id"),
        (Act::Unblock, "target_id"),
        (Act::Accept, "requester_id"),
        (Act::Reject, "requester_id"),
        (Act::Cancel, "target_id"),
    ] {
        let status = Ask::new(act, a, a).refused(&shared.commands).await;
        assert_refused(&status, Reason::SelfEdge, Some(field));
    }
}
