//! The follow cap, and the write rate of an actor.

use proto::error::Reason;
use tests::jobs::{OnAccount, replace_following};
use tests::refusal::assert_refused;
use tests::{Act, Ask, asks, importing, user, users};
use tonic_types::StatusExt as _;

use devstack::env_file::Env;
use tests::own::command_service_beside;
use tests::refusal::metadata;

use super::Shared;

/// The default follow cap.
const CAP: usize = 7_500;

#[tokio::test]
async fn follows_and_requests_count_against_the_follow_cap() {
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
    assert!(!shared.done(Act::Follow, a, last).await.changed, "it is followed already");

    let batch = [Ask::new(Act::Mute, a, beyond), follow];
    let status = asks::batch(&shared.commands, &batch, true, None).await.expect_err("one too many");
    assert_refused(&status, Reason::FollowCapReached, None);
    let swap = [Ask::new(Act::Unfollow, a, last), follow];
    let swapped = asks::batch(&shared.commands, &swap, true, None).await.expect("one for another");
    assert!(swapped.results[1].changed);

    shared.changed(Act::Cancel, a, p).await;
    shared.changed(Act::Follow, a, last).await;
    // The cap does not apply to an import.
    let more = [(a.to_string(), p.to_string())];
    assert_eq!(importing::all(&mut shared.commands.clone(), &more, 1).await, (1, 0));
    // Accepting is an act of the other side, and others may always follow.
    shared.changed(Act::Follow, beyond, a).await;
    shared.changed(Act::Block, a, beyond).await;

    let too_many: Vec<_> = (0..=CAP).map(|_| user()).collect();
    let status = replace_following(&shared.commands, a, &too_many, None, true).await.expect_err("too many");
    let reason = proto::error::reason_of(&status);
    assert!(matches!(reason, Some(Reason::TooManyItems | Reason::FollowCapReached)), "{status:?}");
}

/// A command-service with other limits, on the shared servers.
fn with_limits(shared: &Shared, settings: Env) -> (devstack::services::Service, tests::Commands) {
    let tokens = format!("read+write+admin:{}", shared.endpoints.token);
    let service = command_service_beside(&shared.endpoints, settings.with("AUTH_TOKENS", tokens));
    let commands = shared.endpoints.through(&service).commands();
    (service, commands)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_follow_cap_grows_with_an_accounts_followers() {
    let shared = Shared::new();
    let settings = Env::default().with("FOLLOW_CAP", "2").with("FOLLOW_CAP_PER_FOLLOWER", "1.5");
    let (_service, commands) = with_limits(&shared, settings);
    let [a, b, c, d, e] = users();
    for other in [b, c] {
        Ask::new(Act::Follow, a, other).done(&commands).await;
    }
    let status = Ask::new(Act::Follow, a, d).refused(&commands).await;
    assert_refused(&status, Reason::FollowCapReached, None);
    assert_eq!(metadata(&status, "limit").as_deref(), Some("2"));
    let status = replace_following(&commands, a, &[b, c, d], None, false).await.expect_err("one too many");
    assert_refused(&status, Reason::FollowCapReached, None);
    // Two followers cost as much as three follows.
    for other in [b, c] {
        Ask::new(Act::Follow, other, a).done(&commands).await;
    }
    Ask::new(Act::Follow, a, d).done(&commands).await;
    let status = Ask::new(Act::Follow, a, e).refused(&commands).await;
    assert_eq!(metadata(&status, "limit").as_deref(), Some("3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_above_the_rate_get_a_retry_delay() {
    let shared = Shared::new();
    let (_service, commands) = with_limits(&shared, Env::default().with("ACTOR_WRITES_PER_SECOND", "5"));
    let [a, b, other] = users();
    let mut refused = None;
    for _ in 0..50 {
        if let Err(status) = Ask::new(Act::Unfollow, a, b).send(&commands).await {
            refused = Some(status);
            break;
        }
    }
    let status = refused.expect("fifty at once are too many");
    assert_refused(&status, Reason::RateLimited, None);
    let retry = status.get_details_retry_info().expect("when").retry_delay.expect("a delay");
    assert!(retry <= std::time::Duration::from_secs(2), "{retry:?}");
    let violation = status.get_details_quota_failure().expect("the quota").violations.remove(0);
    assert!(violation.subject.contains(&a.to_string()), "{violation:?}");
    let writes = [Ask::new(Act::Follow, a, b); 20];
    let answer = asks::batch(&commands, &writes, false, None).await.expect("the call succeeds");
    let limited = answer.results.iter().filter_map(|result| result.error.as_ref());
    assert!(
        limited.clone().count() > 0 && limited.clone().all(|error| error.reason() == Reason::RateLimited)
    );
    // Other actors continue, and so does this one after its retry delay.
    Ask::new(Act::Follow, other, b).done(&commands).await;
    tests::until("the actor to be let through", || async {
        Ask::new(Act::Unfollow, a, b).send(&commands).await.map_err(|status| status.to_string())
    })
    .await;
}
