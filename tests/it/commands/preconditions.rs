//! Preconditions: the state that a pair must be in.

use proto::error::Reason;
use tests::asks::Expected;
use tests::refusal::{assert_refused, metadata};
use tests::{Act, Ask, users};

use super::{Shared, revision};

#[tokio::test]
async fn the_revision_of_the_pair_tells_whether_anything_changed_since() {
    let shared = Shared::new();
    let [a, b] = users();
    let at = |revision| Ask::new(Act::Follow, a, b).expecting(Expected::Revision(revision));
    let status = at(17).refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    assert_eq!(metadata(&status, "revision").as_deref(), Some("0"));
    assert_eq!(metadata(&status, "following").as_deref(), Some("false"));

    let followed = at(0).done(&shared.commands).await;
    assert!(followed.changed);
    assert_eq!(followed.relationship.revision, revision(&followed.written_at).0);
    // Seen from the other side it is the same.
    let followed_back = Ask::new(Act::Follow, b, a)
        .expecting(Expected::Revision(followed.relationship.revision))
        .done(&shared.commands)
        .await;
    let newest = followed_back.relationship.revision;
    assert!(followed_back.changed && newest > followed.relationship.revision);
    let stale = Ask::new(Act::Unfollow, a, b).expecting(Expected::Revision(followed.relationship.revision));
    let status = stale.refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    assert_eq!(metadata(&status, "revision"), Some(newest.to_string()));
    assert_eq!(metadata(&status, "following").as_deref(), Some("true"));
    let present = Ask::new(Act::Unfollow, a, b).expecting(Expected::Revision(newest));
    let unfollowed = present.done(&shared.commands).await;
    assert!(unfollowed.changed);
    assert_eq!(unfollowed.relationship.revision, newest, "what is left of the pair is the other follow");
}

#[tokio::test]
async fn nobody_learns_from_a_revision_that_they_are_muted() {
    let shared = Shared::new();
    let [a, b] = users();
    let muted = shared.changed(Act::Mute, b, a).await;
    assert!(muted.relationship.revision > 0, "who mutes sees it");
    let follow = Ask::new(Act::Follow, a, b).expecting(Expected::Revision(0));
    let followed = follow.done(&shared.commands).await;
    shared.changed(Act::Unmute, b, a).await;
    shared.changed(Act::Mute, b, a).await;
    let seen = followed.relationship.revision;
    assert_eq!(shared.done(Act::Follow, a, b).await.relationship.revision, seen);
    let unfollow = Ask::new(Act::Unfollow, a, b).expecting(Expected::Revision(seen));
    assert_eq!(unfollow.done(&shared.commands).await.relationship.revision, 0);
}

#[tokio::test]
async fn whether_the_actor_follows() {
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
async fn an_answer_that_is_repeated_is_not_held_against_the_state_of_today() {
    let shared = Shared::new();
    let [a, b] = users();
    let once = Ask::new(Act::Follow, a, b).expecting(Expected::Revision(0)).under(uuid::Uuid::new_v4());
    let first = once.done(&shared.commands).await;
    assert!(first.changed);
    assert_eq!(once.done(&shared.commands).await, first, "the pair has an edge by now");
}
