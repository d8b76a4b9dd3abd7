//! Batches: atomic ones are one event, independent ones succeed or fail command by command.

use proto::command::v1::BatchWriteRequest;
use proto::error::{Reason, code};
use proto::event::{EdgeKind, EdgeOp, Verb};
use tests::jobs::OnAccount;
use tests::refusal::{assert_refused, field, metadata};
use tests::truth::postgres::snapshot_of;
use tests::{Act, Ask, asks, users};
use tonic::Code;
use uuid::Uuid;

use super::{Shared, changes, revision};

#[tokio::test]
async fn an_atomic_batch_is_one_event() {
    let shared = Shared::new();
    let [a, b, c] = users();
    let batch = [
        Ask::new(Act::Follow, a, b),
        Ask::new(Act::Follow, a, c),
        Ask::new(Act::Mute, c, a),
        Ask::new(Act::Follow, a, b),
    ];
    let answer = asks::batch(&shared.commands, &batch, true, None).await.expect("a batch");
    let changed: Vec<_> = answer.results.iter().map(|result| result.changed).collect();
    assert_eq!(changed, [true, true, true, false]);
    assert!(answer.results.iter().all(|result| result.written_at == answer.written_at));
    assert!(answer.results.iter().all(|result| result.error.is_none()));
    let pair = answer.results[1].relationship.as_ref().expect("the pair");
    assert!(pair.following && pair.user_id == c.to_string());
    let event = shared.event(&answer.written_at).await;
    assert_eq!((event.verb, event.edges.len()), (Verb::Batch, 3));
    let [first, second] =
        [b, c].map(|target| event.edges.iter().find(|e| e.key.target == target).expect("a follow").position);
    assert!(first < second, "the later command is listed before the earlier one");
}

#[tokio::test]
async fn the_first_command_that_fails_is_named_and_nothing_is_left_behind() {
    let shared = Shared::new();
    let [a, b, c] = users();
    shared.changed(Act::Block, c, a).await;
    let head = shared.done(Act::Unfollow, a, b).await.written_at;
    let pool = shared.endpoints.postgres().await;
    let before = snapshot_of(&pool, &[a, b, c]).await;

    let batch = [Ask::new(Act::Follow, a, b), Ask::new(Act::Follow, a, c), Ask::new(Act::Accept, a, b)];
    let id = Uuid::new_v4();
    let status = asks::batch(&shared.commands, &batch, true, Some(id)).await.expect_err("blocked");
    assert_refused(&status, Reason::Blocked, None);
    assert_eq!(metadata(&status, "index").as_deref(), Some("1"));
    let named = field(&status);
    assert!(named.as_ref().is_none_or(|field| field.starts_with("writes[1]")), "{named:?}");

    let after = snapshot_of(&pool, &[a, b, c]).await;
    assert_eq!(after.edges, before.edges);
    after.assert_consistent();
    let told: Vec<i64> =
        sqlx::query_scalar("SELECT revision FROM outbox WHERE revision > $1 AND verb = 'batch'")
            .bind(revision(&head).as_i64())
            .fetch_all(&pool)
            .await
            .expect("the outbox");
    for at in told {
        let event = tests::truth::event(&shared.endpoints, proto::Revision::from_i64(at)).await;
        assert!(event.edges.iter().all(|edge| edge.key.source != a), "revision {at} contains it");
    }
    let now = asks::batch(&shared.commands, &batch[..1], true, Some(id)).await.expect("the id is free");
    assert!(now.results[0].changed, "the failed batch had no effect");
}

#[tokio::test]
async fn bad_input_fails_an_atomic_batch_by_its_field() {
    let shared = Shared::new();
    let [a, b] = users();
    let batch = [Ask::new(Act::Follow, a, b), Ask::new(Act::Mute, b, b)];
    let status = asks::batch(&shared.commands, &batch, true, None).await.expect_err("itself");
    assert_refused(&status, Reason::SelfEdge, Some("writes[1].mute.target_id"));
    assert_eq!(metadata(&status, "index").as_deref(), Some("1"));
    let batch = [Ask::new(Act::Follow, a, b).under(Uuid::new_v4())];
    let status = asks::batch(&shared.commands, &batch, true, None).await.expect_err("an id of its own");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");

    let [a] = users();
    let many = vec![Ask::new(Act::Follow, a, b); 301];
    for atomic in [true, false] {
        let status = asks::batch(&shared.commands, &many, atomic, None).await.expect_err("too many");
        assert_refused(&status, Reason::TooManyItems, Some("writes"));
        let full =
            asks::batch(&shared.commands, &many[..300], atomic, None).await.expect("as many as may be");
        assert_eq!(full.results.len(), 300);
    }
}

#[tokio::test]
async fn an_atomic_batch_has_only_net_changes() {
    let shared = Shared::new();
    let [a, b, c] = users();
    shared.changed(Act::Follow, a, b).await;
    let old = shared.edge(EdgeKind::Follow, a, b).await.expect("a follow");
    let batch = [
        // Removed and added again: unchanged.
        Ask::new(Act::Unfollow, a, b),
        Ask::new(Act::Follow, a, b),
        // Added and removed again.
        Ask::new(Act::Mute, a, c),
        Ask::new(Act::Unmute, a, c),
        // Stays.
        Ask::new(Act::Follow, a, c),
    ];
    let answer = asks::batch(&shared.commands, &batch, true, None).await.expect("a batch");
    assert!(answer.results.iter().all(|result| result.changed));
    let event = shared.event(&answer.written_at).await;
    assert_eq!(changes(&event), [(EdgeOp::Added, EdgeKind::Follow, a, c)]);
    assert_eq!(shared.edge(EdgeKind::Follow, a, b).await, Some(old), "date and place stay");

    let nothing = [Ask::new(Act::Block, b, c), Ask::new(Act::Unblock, b, c)];
    let answer = asks::batch(&shared.commands, &nothing, true, None).await.expect("a batch");
    assert!(answer.results.iter().all(|result| result.changed), "each did something");
    assert_eq!(shared.edge(EdgeKind::Block, b, c).await, None);
}

#[tokio::test]
async fn blocking_and_unblocking_in_one_batch_ends_the_follow() {
    let shared = Shared::new();
    let [a, b] = users();
    shared.changed(Act::Follow, a, b).await;
    let batch = [Ask::new(Act::Block, b, a), Ask::new(Act::Unblock, b, a)];
    let answer = asks::batch(&shared.commands, &batch, true, None).await.expect("a batch");
    let event = shared.event(&answer.written_at).await;
    assert_eq!(changes(&event), [(EdgeOp::Removed, EdgeKind::Follow, a, b)]);
    assert!(!answer.results[1].relationship.as_ref().expect("the pair").followed_by);
}

#[tokio::test]
async fn independent_commands_are_answered_each() {
    let shared = Shared::new();
    let [a, b, c, p] = users();
    shared.changed(Act::Block, c, a).await;
    OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
    let batch = [
        Ask::new(Act::Follow, a, b),
        Ask::new(Act::Follow, a, c),
        Ask::new(Act::Follow, a, a),
        Ask::new(Act::Follow, a, p),
        Ask::new(Act::Follow, a, b),
        Ask::new(Act::Accept, a, b),
    ];
    let answer = asks::batch(&shared.commands, &batch, false, None).await.expect("the call succeeds");
    let outcome: Vec<_> = answer
        .results
        .iter()
        .map(|result| result.error.as_ref().map_or(Ok(result.changed), |error| Err(error.reason())))
        .collect();
    let wanted = [
        Ok(true),
        Err(Reason::Blocked),
        Err(Reason::SelfEdge),
        Ok(true),
        Ok(false),
        Err(Reason::RequestNotFound),
    ];
    assert_eq!(outcome, wanted);
    for (result, wanted) in answer.results.iter().zip(wanted) {
        assert_eq!(result.relationship.is_some(), wanted.is_ok());
        assert_eq!(result.written_at.is_empty(), wanted.is_err());
        if let Some(error) = &result.error {
            assert_eq!(error.code, code(error.reason()) as i32);
            assert!(!error.message.is_empty());
        }
    }
    let itself = answer.results[2].error.as_ref().expect("refused");
    assert_eq!(itself.field, "writes[2].follow.target_id");
    assert!(answer.results[3].relationship.as_ref().expect("the pair").requested);
    let newest = answer.results.iter().map(|result| &result.written_at).max();
    assert_eq!(newest, Some(&answer.written_at));
}

#[tokio::test]
async fn empty_commands_are_refused_and_empty_batches_are_not() {
    let shared = Shared::new();
    let empty = BatchWriteRequest { writes: vec![Default::default()], atomic: true, ..Default::default() };
    let status = shared.commands.clone().batch_write(empty.clone()).await.expect_err("no command");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let each = BatchWriteRequest { atomic: false, ..empty };
    let answer = shared.commands.clone().batch_write(each).await.expect("a batch").into_inner();
    let error = answer.results[0].error.as_ref().expect("refused");
    assert_eq!(error.code, Code::InvalidArgument as i32);
    let answer = asks::batch(&shared.commands, &[], false, None).await.expect("nothing to do");
    assert!(answer.results.is_empty());
}
