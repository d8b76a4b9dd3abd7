//! A follow, from the client to each store.

use proto::error::{Reason, reason_of};
use tests::clients::{check, consistent, counts, follow, fresh, unfollow};
use tests::{Endpoints, new_user};

/// I10.
#[tokio::test]
async fn a_follow_is_seen_by_a_read_with_its_token() {
    let endpoints = Endpoints::shared();
    let (mut commands, mut queries) = (endpoints.commands(), endpoints.queries());
    let (a, b) = (new_user(), new_user());

    let first = follow(&mut commands, &a, &b).await.expect("a follow");
    assert!(first.changed);
    let relationship = first.relationship.expect("the pair");
    assert!(relationship.following && !relationship.followed_by);
    let seen = check(&mut queries, &a, &b, fresh(&first.written_at)).await.expect("a check");
    assert!(seen.following && seen.as_of >= first.written_at, "{seen:?}");
    assert!(!check(&mut queries, &b, &a, consistent()).await.expect("a check").following);

    let again = follow(&mut commands, &a, &b).await.expect("a follow");
    assert!(!again.changed && again.written_at >= first.written_at);

    let gone = unfollow(&mut commands, &a, &b).await.expect("an unfollow");
    assert!(gone.changed);
    let seen = check(&mut queries, &a, &b, fresh(&gone.written_at)).await.expect("a check");
    assert!(!seen.following);
    let counted =
        counts(&mut queries, &[a.clone(), b.clone()], fresh(&gone.written_at)).await.expect("counts");
    assert!(counted.iter().all(|c| (c.followers, c.following) == (0, 0)), "{counted:?}");
    assert!(!unfollow(&mut commands, &a, &b).await.expect("an unfollow").changed);
}

#[tokio::test]
async fn a_self_follow_names_the_field() {
    let endpoints = Endpoints::shared();
    let user = new_user();
    let status = follow(&mut endpoints.commands(), &user, &user).await.expect_err("refused");
    assert_eq!(reason_of(&status), Some(Reason::SelfEdge));
}
