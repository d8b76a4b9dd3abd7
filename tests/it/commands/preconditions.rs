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
    let muted = Ask::new(Act::Mute, b, a)
        .expecting(Expected::Revision(followed.relationship.revision))
        .done(&shared.commands)
        .await;
    assert!(muted.changed && muted.relationship.revision > followed.relationship.revision);
    let stale = Ask::new(Act::Unfollow, a, b).expecting(Expected::Revision(followed.relationship.revision));
    let status = stale.refused(&shared.commands).await;
    assert_refused(&status, Reason::PreconditionFailed, None);
    assert_eq!(metadata(&status, "revision"), Some(muted.relationship.revision.to_string()));
    assert_eq!(metadata(&status, "following").as_deref(), Some("true"));
    let present = Ask::new(Act::Unfollow, a, b).expecting(Expected::Revision(muted.relationship.revision));
    assert!(present.done(&shared.commands).await.changed);
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
