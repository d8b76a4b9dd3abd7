//! I6 for every command: a repeat gets the first answer, and another command with its request_id is rejected.

use proto::error::Reason;
use tests::jobs::{self, OnAccount};
use tests::refusal::assert_refused;
use tests::{Act, Ask, asks, user, users};
use uuid::Uuid;

use super::Shared;

/// A command, and whether it is sent by `a`, who requests, or by `p`, who is private.
type By = (Act, bool);

/// Each with a preparation, so that it changes something, and a command that reverts it.
const ALL: [(&[By], Act, &[By]); 10] = [
    (&[], Act::Follow, &[(Act::Cancel, true)]),
    (&[(Act::Follow, true)], Act::Unfollow, &[(Act::Follow, true)]),
    (&[(Act::Follow, true), (Act::Accept, false)], Act::RemoveFollower, &[(Act::Follow, true)]),
    (&[], Act::Mute, &[(Act::Unmute, true)]),
    (&[(Act::Mute, true)], Act::Unmute, &[(Act::Mute, true)]),
    (&[], Act::Block, &[(Act::Unblock, true)]),
    (&[(Act::Block, true)], Act::Unblock, &[(Act::Block, true)]),
    (&[(Act::Follow, true)], Act::Accept, &[(Act::Unfollow, true)]),
    (&[(Act::Follow, true)], Act::Reject, &[(Act::Follow, true)]),
    (&[(Act::Follow, true)], Act::Cancel, &[(Act::Follow, true)]),
];

#[tokio::test]
async fn every_command_gives_its_first_answer_again_after_it_was_undone() {
    let shared = Shared::new();
    for (before, act, undo) in ALL {
        let [a, p] = users();
        OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
        let pair = |by_a| if by_a { (a, p) } else { (p, a) };
        let by_p = matches!(act, Act::RemoveFollower | Act::Accept | Act::Reject);
        let (actor, other) = pair(!by_p);
        for (act, by_a) in before {
            let (actor, other) = pair(*by_a);
            shared.changed(*act, actor, other).await;
        }
        let once = Ask::new(act, actor, other).under(Uuid::new_v4());
        let first = once.done(&shared.commands).await;
        assert!(first.changed, "{act:?}");
        for (act, by_a) in undo {
            let (actor, other) = pair(*by_a);
            shared.changed(*act, actor, other).await;
        }
        let head = tests::truth::postgres::snapshot_of(&shared.endpoints.postgres().await, &[a, p]).await;
        assert_eq!(once.done(&shared.commands).await, first, "{act:?}");
        let after = tests::truth::postgres::snapshot_of(&shared.endpoints.postgres().await, &[a, p]).await;
        assert_eq!(after.edges, head.edges, "{act:?} again changes nothing");
    }
}

#[tokio::test]
async fn a_request_id_with_a_different_command_is_refused() {
    let shared = Shared::new();
    let [a, b, c] = users();
    let id = Uuid::new_v4();
    let mute = Ask::new(Act::Mute, a, b).under(id).until(asks::in_hours(3));
    mute.done(&shared.commands).await;
    for other in [
        Ask::new(Act::Block, a, b).under(id).until(asks::in_hours(3)),
        Ask::new(Act::Mute, a, c).under(id).until(asks::in_hours(3)),
        Ask { expires_at: None, ..mute },
        mute.until(asks::in_hours(4)),
        mute.expecting(asks::Expected::Following(false)),
    ] {
        assert_refused(&other.refused(&shared.commands).await, Reason::RequestIdReused, None);
    }
    let status = OnAccount::SetPrivate(true).send(&shared.commands, a, Some(id)).await.expect_err("reused");
    assert_refused(&status, Reason::RequestIdReused, None);
    let status =
        jobs::replace_following(&shared.commands, a, &[b], Some(id), false).await.expect_err("reused");
    assert_refused(&status, Reason::RequestIdReused, None);
    let batch = asks::batch(&shared.commands, &[Ask::new(Act::Follow, a, b)], true, Some(id)).await;
    assert_refused(&batch.expect_err("reused"), Reason::RequestIdReused, None);
    assert!(mute.done(&shared.commands).await.changed, "the first is still answered");
    assert!(Ask::new(Act::Mute, b, c).under(id).done(&shared.commands).await.changed, "another actor");
}

#[tokio::test]
async fn commands_on_accounts_and_lists_are_answered_again_with_their_job() {
    let shared = Shared::new();
    let [a, b] = users();
    shared.changed(Act::Follow, b, a).await;
    for on_account in [OnAccount::SetPrivate(true), OnAccount::Archive, OnAccount::Restore] {
        let id = Some(Uuid::new_v4());
        let first = on_account.send(&shared.commands, a, id).await.expect("the first");
        assert!(first.changed, "{on_account:?}");
        jobs::wait(&shared.commands, &first.job_id).await;
        assert_eq!(on_account.send(&shared.commands, a, id).await.expect("again"), first, "{on_account:?}");
        let other = OnAccount::SetPrivate(false).send(&shared.commands, a, id).await.expect_err("reused");
        assert_refused(&other, Reason::RequestIdReused, None);
    }
    let (id, target) = (Some(Uuid::new_v4()), user());
    let first = jobs::replace_following(&shared.commands, a, &[target], id, false).await.expect("replaced");
    assert_eq!(first.added, [target.to_string()]);
    shared.changed(Act::Unfollow, a, target).await;
    let again = jobs::replace_following(&shared.commands, a, &[target], id, false).await.expect("again");
    assert_eq!(again, first);
    let other = jobs::replace_following(&shared.commands, a, &[], id, false).await.expect_err("reused");
    assert_refused(&other, Reason::RequestIdReused, None);
}

#[tokio::test]
async fn a_batch_is_answered_again_as_a_whole_or_one_by_one() {
    let shared = Shared::new();
    let [a, b, c] = users();
    let whole = [Ask::new(Act::Follow, a, b), Ask::new(Act::Mute, a, c)];
    let id = Some(Uuid::new_v4());
    let first = asks::batch(&shared.commands, &whole, true, id).await.expect("a batch");
    shared.changed(Act::Unfollow, a, b).await;
    assert_eq!(asks::batch(&shared.commands, &whole, true, id).await.expect("again"), first);
    let other = asks::batch(&shared.commands, &whole[..1], true, id).await.expect_err("another batch");
    assert_refused(&other, Reason::RequestIdReused, None);

    let each = whole.map(|ask| ask.under(Uuid::new_v4()));
    let first = asks::batch(&shared.commands, &each, false, None).await.expect("a batch");
    shared.changed(Act::Unfollow, a, b).await;
    // A command of a batch equals the single command.
    let alone = each[0].done(&shared.commands).await;
    assert_eq!((alone.changed, &alone.written_at), (true, &first.results[0].written_at));
    assert_eq!(asks::batch(&shared.commands, &each, false, None).await.expect("again"), first);
}
