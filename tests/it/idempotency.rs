//! I6: a request_id is executed once, and each repeat gets the first answer.

use futures::future::join_all;
use proto::command::v1::{FollowRequest, UnfollowRequest};
use proto::error::{Reason, reason_of};
use tests::clients::{check, consistent, follow};
use tests::{Endpoints, new_user};

fn request(actor: &str, target: &str, request_id: &str) -> FollowRequest {
    FollowRequest {
        actor_id: actor.into(),
        target_id: target.into(),
        request_id: request_id.into(),
        precondition: None,
    }
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_even_after_other_changes() {
    let endpoints = Endpoints::shared();
    let mut commands = endpoints.commands();
    let (a, b, id) = (new_user(), new_user(), new_user());
    let first = commands.follow(request(&a, &b, &id)).await.expect("a follow").into_inner();

    let undo = UnfollowRequest {
        actor_id: a.clone(),
        target_id: b.clone(),
        request_id: String::new(),
        precondition: None,
    };
    assert!(commands.unfollow(undo).await.expect("an unfollow").into_inner().changed);

    let again = commands.follow(request(&a, &b, &id.to_uppercase())).await.expect("a repeat").into_inner();
    assert_eq!(again, first);
    let now = check(&mut endpoints.queries(), &a, &b, consistent()).await.expect("a check");
    assert!(!now.following, "the repeat changes nothing");
}

#[tokio::test]
async fn repeats_at_the_same_time_change_once() {
    let endpoints = Endpoints::shared();
    let (a, b, id) = (new_user(), new_user(), new_user());
    let answers = join_all((0..16).map(|_| {
        let (mut commands, request) = (endpoints.commands(), request(&a, &b, &id));
        async move { commands.follow(request).await.expect("a follow").into_inner() }
    }))
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.changed), "{answers:?}");
}

#[tokio::test]
async fn another_command_under_the_same_id_is_refused_and_the_id_is_per_actor() {
    let endpoints = Endpoints::shared();
    let mut commands = endpoints.commands();
    let (a, b, c, id) = (new_user(), new_user(), new_user(), new_user());
    commands.follow(request(&a, &b, &id)).await.expect("a follow");
    let status = commands.follow(request(&a, &c, &id)).await.expect_err("another target");
    assert_eq!(reason_of(&status), Some(Reason::RequestIdReused));
    let undo = UnfollowRequest {
        actor_id: a.clone(),
        target_id: b.clone(),
        request_id: id.clone(),
        precondition: None,
    };
    let status = commands.unfollow(undo).await.expect_err("another verb");
    assert_eq!(reason_of(&status), Some(Reason::RequestIdReused));
    assert!(commands.follow(request(&c, &b, &id)).await.expect("another actor").into_inner().changed);
}

#[tokio::test]
async fn a_command_that_changed_nothing_is_remembered_and_an_error_is_not() {
    let endpoints = Endpoints::shared();
    let mut commands = endpoints.commands();
    let (a, b, id) = (new_user(), new_user(), new_user());
    let undo = UnfollowRequest {
        actor_id: a.clone(),
        target_id: b.clone(),
        request_id: id.clone(),
        precondition: None,
    };
    let nothing = commands.unfollow(undo.clone()).await.expect("an unfollow").into_inner();
    assert!(!nothing.changed);
    follow(&mut commands, &a, &b).await.expect("a follow");
    assert_eq!(commands.unfollow(undo).await.expect("a repeat").into_inner(), nothing);

    let id = new_user();
    commands.follow(request(&a, &a, &id)).await.expect_err("itself");
    assert!(commands.follow(request(&a, &new_user(), &id)).await.is_ok(), "the id is still free");
}
