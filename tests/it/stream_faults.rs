//! I3: the stream agrees with the outbox again after any fault.

use std::time::Duration;

use async_nats::jetstream;
use proto::{Revision, subjects};
use tests::importing;
use tests::own::Victim;
use tests::{Endpoints, Own, graph, truth, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_and_a_stray_message_heal_while_writes_go_on() {
    let mut own = Own::light().start().await;
    let endpoints = own.endpoints.clone();
    let edges = graph::random(3, 300, 6_000);
    let mut commands = endpoints.commands();
    importing::all(&mut commands, &edges[..2_000], 100).await;
    truth::wait_caught_up(&endpoints).await;

    let context = jetstream::new(endpoints.nats().await);
    context.delete_stream(subjects::STREAM).await.expect("the stream is deleted");
    importing::all(&mut commands, &edges[2_000..4_000], 100).await;
    truth::assert_agreement(&endpoints, 5).await;
    let first = truth::stream(&endpoints).await[0].revision;
    assert_eq!(first, Revision(1), "the stream is whole again");

    // A stray message takes the next sequence number.
    let ack = context.publish("followgraph.events.follow", "stray".into()).await.expect("sent");
    let sequence = ack.await.expect("stored").sequence;
    importing::all(&mut commands, &edges[4_000..], 100).await;
    truth::assert_agreement(&endpoints, 5).await;
    let events = truth::stream(&endpoints).await;
    assert!(
        events.iter().any(|event| event.revision == Revision(sequence)),
        "the stray's place is ours again"
    );

    // And while no publication would conflict with it.
    let ack = context.publish("followgraph.events.follow", "stray".into()).await.expect("sent");
    let sequence = ack.await.expect("stored").sequence;
    stands_at(&endpoints, Revision(sequence - 1)).await;
    takes_new_settings(&mut own).await;
    truth::assert_agreement(&endpoints, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_outlives_its_outbox_rows_is_kept() {
    let mut own = Own::light().start().await;
    let endpoints = own.endpoints.clone();
    let mut commands = endpoints.commands();
    importing::all(&mut commands, &graph::random(5, 50, 100), 20).await;
    truth::wait_caught_up(&endpoints).await;
    let context = jetstream::new(endpoints.nats().await);
    let made = context.get_stream(subjects::STREAM).await.expect("the stream").cached_info().created;

    // The outbox is pruned, and the next event is committed while NATS is down.
    own.kill(Victim::Nats);
    let pool = endpoints.postgres().await;
    let mut prune = pool.begin().await.expect("a transaction");
    for statement in ["SELECT keep_head()", "DELETE FROM outbox"] {
        sqlx::query(statement).execute(&mut *prune).await.expect(statement);
    }
    prune.commit().await.expect("pruned");
    tests::clients::follow(&mut commands, &tests::new_user(), &tests::new_user()).await.expect("a follow");
    own.revive(Victim::Nats);
    truth::wait_caught_up(&endpoints).await;
    let context = jetstream::new(endpoints.nats().await);
    let stream = context.get_stream(subjects::STREAM).await.expect("the stream");
    assert_eq!(stream.cached_info().created, made, "it is the same stream");
    assert_eq!(stream.cached_info().state.first_sequence, 1, "with all that it held");
}

/// The leading relay applies its settings to an existing stream.
async fn takes_new_settings(own: &mut Own) {
    own.kill(Victim::Command);
    own.pipeline.command.spec.env.set("STREAM_MAX_AGE_SECONDS", "86400");
    own.revive(Victim::Command);
    let nats = own.endpoints.nats().await;
    until("the stream to have the new age", || {
        let context = jetstream::new(nats.clone());
        async move {
            let stream = context.get_stream(subjects::STREAM).await.map_err(|error| error.to_string())?;
            let age = stream.cached_info().config.max_age;
            if age == Duration::from_secs(86_400) { Ok(()) } else { Err(format!("{age:?}")) }
        }
    })
    .await;
}

async fn stands_at(endpoints: &Endpoints, wanted: Revision) {
    let nats = endpoints.nats().await;
    until("the stream to be made again", || {
        let context = jetstream::new(nats.clone());
        async move {
            let stream = context.get_stream(subjects::STREAM).await.map_err(|error| error.to_string())?;
            let last = stream.cached_info().state.last_sequence;
            if last == wanted.0 { Ok(()) } else { Err(format!("it ends at {last}, not {wanted}")) }
        }
    })
    .await;
}
