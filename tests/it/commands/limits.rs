//! The follow cap.

use proto::error::Reason;
use tests::jobs::{OnAccount, replace_following};
use tests::refusal::assert_refused;
use tests::{Act, Ask, asks, importing, user, users};
use tonic_types::StatusExt as _;

use super::Shared;

/// What everybody may follow, unless it is configured otherwise.
const CAP: usize = 7_500;

#[tokio::test]
async fn an_account_follows_and_asks_so_many_and_no_more() {
    let shared = Shared::new();
    let [a, p, last, beyond] = users();
    OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
    let edges: Vec<_> = (0..CAP - 2).map(|_| (a.to_string(), user().to_string())).collect();
    importing::all(&mut shared.commands.clone(), &edges, 1_000).await;
    // Two places are left; a request takes one.
    shared.changed(Act::Follow, a, p).await;
    shared.changed(Act::Follow, a, last).await;

    let follow = Ask::new(Act::Follow, a, beyond);
    let status = follow.refused(&shared.commands).await;
    assert_refused(&status, Reason::FollowCapReached, None);
    let quota = status.get_details_quota_failure().expect("the quota");
    let violation = quota.violations.first().expect("one");
    assert!(violation.subject.contains(&a.to_string()), "{violation:?}");
    assert!(violation.description.contains(&CAP.to_string()), "{violation:?}");
    assert!(!shared.done(Act::Follow, a, last).await.changed, "whom it follows already");

    let batch = [Ask::new(Act::Mute, a, beyond), follow];
    let status = asks::batch(&shared.commands, &batch, true, None).await.expect_err("one too many");
    assert_refused(&status, Reason::FollowCapReached, None);
    let swap = [Ask::new(Act::Unfollow, a, last), follow];
    let swapped = asks::batch(&shared.commands, &swap, true, None).await.expect("one for another");
    assert!(swapped.results[1].changed);

    shared.changed(Act::Cancel, a, p).await;
    shared.changed(Act::Follow, a, last).await;
    // An import is not held to it.
    let more = [(a.to_string(), p.to_string())];
    assert_eq!(importing::all(&mut shared.commands.clone(), &more, 1).await, (1, 0));
    // Accepting is the other side's, and others may always follow.
    shared.changed(Act::Follow, beyond, a).await;
    shared.changed(Act::Block, a, beyond).await;

    let too_many: Vec<_> = (0..=CAP).map(|_| user()).collect();
    let status = replace_following(&shared.commands, a, &too_many, None, true).await.expect_err("too many");
    let reason = proto::error::reason_of(&status);
    assert!(matches!(reason, Some(Reason::TooManyItems | Reason::FollowCapReached)), "{status:?}");
}
