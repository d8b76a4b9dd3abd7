//! Preconditions on the state of a pair.

use proto::error::Reason;
use proto::graph::v1::Relationship;
use proto::query::v1::GetRelationshipsRequest;
use proto::{Etag, UserId};
use serde_json::json;
use tests::asks::{self, Expected, etag};
use tests::clients::consistent;
use tests::jobs::OnAccount;
use tests::refusal::{assert_refused, metadata};
use tests::{Act, Ask, until, users};
use time::OffsetDateTime;

use super::Shared;

impl Shared {
    /// A pair as stored in PostgreSQL.
    async fn pair(&self, viewer: UserId, other: UserId) -> Relationship {
        let request = GetRelationshipsRequest {
            viewer_id: viewer.to_string(),
            target_ids: vec![other.to_string()],
            consistency: consistent(),
            explain: false,
        };
        let answer = self.endpoints.queries().get_relationships(request).await.expect("a pair").into_inner();
        answer.relationships.into_iter().next().expect("one")
    }

    async fn etag(&self, viewer: UserId, other: UserId) -> Etag {
        etag(&self.pair(viewer, other).await)
    }
}

/// The steps of a case before the viewer reads the pair, and how an edge ends afterwards. `a` reads and writes.
struct Case {
    name: &'static str,
    before: &'static [(Act, Who)],
    change: (Act, Who),
}

/// The acting account.
#[derive(Clone, Copy)]
enum Who {
    A,
    B,
}
use Who::{A, B};

/// The edge that ends is never the newest one: the last command before the read adds another.
const CASES: [Case; 9] = [
    Case { name: "unfollow", before: &[(Act::Follow, B), (Act::Follow, A)], change: (Act::Unfollow, B) },
    Case {
        name: "remove follower",
        before: &[(Act::Follow, B), (Act::Mute, A)],
        change: (Act::RemoveFollower, A),
    },
    Case { name: "unmute", before: &[(Act::Mute, A), (Act::Follow, A)], change: (Act::Unmute, A) },
    Case { name: "unblock", before: &[(Act::Block, B), (Act::Mute, A)], change: (Act::Unblock, B) },
    Case { name: "own unblock", before: &[(Act::Block, A), (Act::Mute, A)], change: (Act::Unblock, A) },
    // B is private.
    Case { name: "reject", before: &[(Act::Follow, A), (Act::Follow, B)], change: (Act::Reject, B) },
    Case { name: "cancel", before: &[(Act::Follow, A), (Act::Follow, B)], change: (Act::Cancel, A) },
    Case { name: "accept", before: &[(Act::Follow, A), (Act::Follow, B)], change: (Act::Accept, B) },
    Case { name: "block", before: &[(Act::Follow, B), (Act::Follow, A)], change: (Act::Block, B) },
];

#[tokio::test]
async fn the_end_of_any_edge_fails_a_stale_precondition() {
    let shared = Shared::new();
    for case in CASES {
        let [a, b] = users();
        if matches!(case.change.0, Act::Reject | Act::Cancel | Act::Accept) {
            OnAccount::SetPrivate(true).finish(&shared.commands, b).await;
        }
        let act = async |(act, who): (Act, Who)| {
            let (actor, other) = if matches!(who, A) { (a, b) } else { (b, a) };
            shared.changed(act, actor, other).await
        };
        for before in case.before {
            act(*before).await;
        }
        let read = shared.etag(a, b).await;
        act(case.change).await;

        let mute =
            |expected| Ask::new(Act::Mute, a, b).until(asks::in_hours(1)).expecting(Expected::Etag(expected));
        let status = mute(read).refused(&shared.commands).await;
        assert_refused(&status, Reason::PreconditionFailed, None);
        let now = shared.etag(a, b).await;
        assert_ne!(now, read, "{}", case.name);
        assert_eq!(metadata(&status, "etag"), Some(now.to_string()), "{}", case.name);
        assert!(mute(now).done(&shared.commands).await.changed, "{}", case.name);
    }
}

#[tokio::test]
async fn an_edge_that_is_added_again_fails_a_stale_precondition() {
    let shared = Shared::new();
    let [a, b] = users();
    let read = etag(&shared.changed(Act::Follow, a, b).await.relationship);
    shared.changed(Act::Unfollow, a, b).await;
    shared.changed(Act::Follow, a, b).await;
    let status = Ask::new(Act::Mute, a, b).expecting(Expected::Etag(read)).refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);

    // An expiry that changes and changes back.
    let until = |hours| Ask::new(Act::Mute, a, b).until(asks::in_hours(hours));
    let (one, two) = (until(1), until(2));
    let read = etag(&one.done(&shared.commands).await.relationship);
    two.done(&shared.commands).await;
    one.done(&shared.commands).await;
    let status = two.expecting(Expected::Etag(read)).refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
}

#[tokio::test]
async fn an_expiry_fails_a_stale_precondition() {
    let shared = Shared::new();
    let [a, b] = users();
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("a whole second");
    let soon = now + time::Duration::seconds(3);
    Ask::new(Act::Block, b, a).until(soon).done(&shared.commands).await;
    let read = etag(&shared.changed(Act::Mute, a, b).await.relationship);
    until("the block to expire", || async {
        if shared.pair(a, b).await.blocked_by { Err("it stands".to_owned()) } else { Ok(()) }
    })
    .await;
    let follow = |expected| Ask::new(Act::Follow, a, b).expecting(Expected::Etag(expected));
    let status = follow(read).refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    follow(shared.etag(a, b).await).done(&shared.commands).await;
}

#[tokio::test]
async fn archiving_and_restoring_fail_a_stale_precondition() {
    let shared = Shared::new();
    let [a, b] = users();
    let none = shared.etag(a, b).await;
    shared.changed(Act::Follow, b, a).await;
    let read = etag(&shared.changed(Act::Mute, a, b).await.relationship);
    let unmute = |expected| Ask::new(Act::Unmute, a, b).expecting(Expected::Etag(expected));

    OnAccount::Archive.finish(&shared.commands, b).await;
    let status = unmute(read).refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    // Hidden edges are in no etag: the pair looks like one without edges.
    assert_eq!(metadata(&status, "etag"), Some(none.to_string()));
    assert_eq!(shared.etag(a, b).await, none);

    OnAccount::Restore.finish(&shared.commands, b).await;
    let status = unmute(none).refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    let status = unmute(read).refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    assert!(unmute(shared.etag(a, b).await).done(&shared.commands).await.changed);
}

#[tokio::test]
async fn a_mute_by_the_other_account_does_not_move_the_etag() {
    let shared = Shared::new();
    let [a, b] = users();
    let none = shared.etag(a, b).await;
    let before = shared.etag(b, a).await;
    let muted = shared.changed(Act::Mute, b, a).await;
    assert_ne!(etag(&muted.relationship), before, "the account that mutes sees it");
    assert_eq!(shared.etag(a, b).await, none);
    let follow = Ask::new(Act::Follow, a, b).expecting(Expected::Etag(none));
    let seen = etag(&follow.done(&shared.commands).await.relationship);
    shared.changed(Act::Unmute, b, a).await;
    shared.changed(Act::Mute, b, a).await;
    assert_eq!(etag(&shared.done(Act::Follow, a, b).await.relationship), seen);
    let unfollow = Ask::new(Act::Unfollow, a, b).expecting(Expected::Etag(seen));
    assert_eq!(etag(&unfollow.done(&shared.commands).await.relationship), none, "the same state as at first");
}

#[tokio::test]
async fn a_failed_precondition_returns_the_committed_state() {
    let shared = Shared::new();
    let [a, b, c] = users();
    let until = asks::in_hours(30);
    let none = shared.etag(a, b).await;
    shared.changed(Act::Follow, b, a).await;
    Ask::new(Act::Mute, a, b).until(until).done(&shared.commands).await;
    let now = shared.pair(a, b).await;
    let wanted = json!({
        "userId": b.to_string(),
        "followedBy": true,
        "followedBySince": now.followed_by_since.expect("a date").to_string(),
        "muting": true,
        "mutingUntil": now.muting_until.expect("a date").to_string(),
        "etag": now.etag,
    });
    let relationship = |text: &str| -> serde_json::Value {
        let mut found: serde_json::Value = serde_json::from_str(text).expect("JSON");
        // Commands return microseconds, reads milliseconds.
        let since = found["followedBySince"].as_str().expect("a date");
        let date = since.parse::<prost_types::Timestamp>().expect("a date");
        let date = proto::timestamp::from_proto(&date).expect("a date");
        found["followedBySince"] =
            proto::timestamp::millis_to_proto(proto::timestamp::to_millis(date)).to_string().into();
        found
    };
    let stale = Ask::new(Act::Follow, a, b).expecting(Expected::Etag(none));

    let status = stale.refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    assert_eq!(metadata(&status, "etag"), Some(now.etag.clone()));
    assert_eq!(metadata(&status, "following").as_deref(), Some("false"));
    assert_eq!(relationship(&metadata(&status, "relationship").expect("the pair")), wanted);

    // An atomic batch had no effect, so the effect of its first command is not in the state.
    let asks = [Ask::new(Act::Block, a, b), Ask::new(Act::Follow, a, c), stale];
    let status = asks::batch(&shared.commands, &asks, true, None).await.expect_err("refused");
    assert_refused(&status, Reason::PreconditionFailed, Some("writes[2].follow"));
    assert_eq!(relationship(&metadata(&status, "relationship").expect("the pair")), wanted);
    assert_eq!(shared.pair(a, b).await, now);

    let asks = [Ask::new(Act::Follow, a, c), stale];
    let answer = asks::batch(&shared.commands, &asks, false, None).await.expect("the call succeeds");
    let error = answer.results[1].error.clone().expect("refused");
    assert_eq!(error.reason(), Reason::PreconditionFailed);
    assert_eq!(error.metadata["etag"], now.etag);
    assert_eq!(relationship(&error.metadata["relationship"]), wanted);
}

#[tokio::test]
async fn an_invented_etag_matches_no_state() {
    let shared = Shared::new();
    let [a, b, c] = users();
    let send = async |text: &str| {
        let precondition = proto::command::v1::follow_request::Precondition::ExpectedEtag(text.to_owned());
        let request = proto::command::v1::FollowRequest {
            actor_id: a.to_string(),
            target_id: b.to_string(),
            request_id: String::new(),
            precondition: Some(precondition),
        };
        shared.commands.clone().follow(request).await.expect_err("refused")
    };
    assert_refused(&send("").await, Reason::FieldRequired, Some("expected_etag"));
    let here = shared.etag(a, b).await.to_string();
    for text in ["0", "901", &here.to_uppercase().replace("1.", "2."), &shared.etag(a, c).await.to_string()] {
        let status = send(text).await;
        assert_refused(&status, Reason::PreconditionFailed, None);
        assert_eq!(metadata(&status, "etag").as_ref(), Some(&here), "{text}");
    }
}

#[tokio::test]
async fn expected_following_must_match() {
    let shared = Shared::new();
    let [a, b] = users();
    let follow = Ask::new(Act::Follow, a, b);
    let status = follow.expecting(Expected::Following(true)).refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    assert!(follow.expecting(Expected::Following(false)).done(&shared.commands).await.changed);
    let status = follow.expecting(Expected::Following(false)).refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    assert_eq!(metadata(&status, "following").as_deref(), Some("true"));
    let block = Ask::new(Act::Block, a, b);
    let status = block.expecting(Expected::Following(false)).refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    assert!(block.expecting(Expected::Following(true)).done(&shared.commands).await.changed);
}

#[tokio::test]
async fn a_repeat_does_not_check_its_precondition_again() {
    let shared = Shared::new();
    let [a, b] = users();
    let none = shared.etag(a, b).await;
    let once = Ask::new(Act::Follow, a, b).expecting(Expected::Etag(none)).under(uuid::Uuid::new_v4());
    let first = once.done(&shared.commands).await;
    assert!(first.changed);
    assert_eq!(once.done(&shared.commands).await, first, "the pair has an edge by now");
}
