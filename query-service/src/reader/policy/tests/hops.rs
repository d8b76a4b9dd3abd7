//! Questions over more than one hop.

use super::*;

/// Questions over two hops, which the fake stores do not answer: they fail.
fn two_hops() -> (multi::Suggest, multi::ListAt) {
    let viewer = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
    let at = multi::ListAt { kind: ListKind::Followers, user: viewer, offset: 2_000, limit: 1, viewer: None };
    (multi::Suggest { viewer, limit: 1 }, at)
}

#[tokio::test(start_paused = true)]
async fn what_the_read_model_alone_can_answer_is_not_asked_elsewhere() {
    let world = World::healthy();
    let (suggest, at) = two_hops();
    let (until, trail) = (Instant::now() + Duration::from_secs(1), Trail::new(true));
    let refused = world.policy.answer(&suggest, ANY, until, &trail).await;
    assert!(matches!(refused, Err(Refusal::Unavailable { .. })), "{refused:?}");
    assert_eq!(trail.record().map(|record| record.steps.len()), Some(1), "the read model");
    let trail = Trail::new(true);
    assert!(world.policy.answer(&at, ANY, until, &trail).await.is_err());
    assert_eq!(trail.record().map(|record| record.steps.len()), Some(2), "both stores");
}
