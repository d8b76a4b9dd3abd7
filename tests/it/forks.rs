//! I4: two histories of one epoch are detected.

use proto::error::{Reason, reason_of};
use proto::graph::v1::StreamState;
use tests::clients::{check, follow, fresh};
use tests::own::{Victim, binaries};
use tests::status::until_stream_is;
use tests::{Own, new_user, truth, until};
use tokio::task::block_in_place;

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_stops_the_relay_and_is_said_and_a_new_epoch_ends_it() {
    let mut own = Own::light().start().await;
    let endpoints = own.endpoints.clone();
    let mut commands = endpoints.commands();
    let mut old_token = String::new();
    for _ in 0..5 {
        old_token = follow(&mut commands, &new_user(), &new_user()).await.expect("a follow").written_at;
    }
    truth::wait_caught_up(&endpoints).await;
    let published = truth::head(&endpoints).await;

    // PostgreSQL loses its last two commits, as after a failover to a standby that lagged.
    let pool = endpoints.postgres().await;
    let lost = published.as_i64() - 2;
    for statement in ["DELETE FROM outbox WHERE revision > $1", "DELETE FROM follows WHERE revision > $1"] {
        sqlx::query(statement).bind(lost).execute(&pool).await.expect("a statement");
    }
    sqlx::query(
        "UPDATE accounts SET followers = (SELECT count(*) FROM follows WHERE following_id = user_id),
                             following = (SELECT count(*) FROM follows WHERE follower_id = user_id)",
    )
    .execute(&pool)
    .await
    .expect("counts");

    until_stream_is(&commands, StreamState::Forked, "another event").await;
    assert!(!own.pipeline.command.is_ready(), "/readyz is false");

    // Revisions are not assigned twice: nothing is committed, and nothing is published to the other history's stream.
    let refused = follow(&mut commands, &new_user(), &new_user()).await.expect_err("no commit");
    assert_eq!(reason_of(&refused), Some(Reason::NotCommitted), "{refused:?}");
    assert!(refused.message().contains("new epoch"), "{refused:?}");
    assert_eq!(truth::head(&endpoints).await.as_i64(), lost);
    let events = truth::stream(&endpoints).await;
    assert_eq!(events.last().map(|event| event.revision), Some(published));

    // Nor after a restart while NATS is down, when the stream cannot be inspected.
    own.kill(Victim::Nats);
    own.kill(Victim::Command);
    own.revive(Victim::Command);
    until_stream_is(&commands, StreamState::Forked, "another event").await;
    assert!(!own.pipeline.command.is_ready(), "/readyz is false");
    let refused = follow(&mut commands, &new_user(), &new_user()).await.expect_err("no commit");
    assert_eq!(reason_of(&refused), Some(Reason::NotCommitted), "{refused:?}");
    assert!(refused.message().contains("new epoch"), "{refused:?}");
    assert_eq!(truth::head(&endpoints).await.as_i64(), lost);

    let recovered = block_in_place(|| {
        let mut cli = devstack::services::cli(&binaries(), &own.pipeline.client_env);
        cli.args(["recover", "--yes", "--replace-stream"]).output().expect("the CLI runs")
    });
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
    until("writes to resume while NATS is away", || {
        let mut commands = commands.clone();
        async move {
            let written = follow(&mut commands, &new_user(), &new_user()).await;
            written.map(|_| ()).map_err(|status| status.to_string())
        }
    })
    .await;
    own.revive(Victim::Nats);
    own.wait_ready();
    let (a, b) = (new_user(), new_user());
    let written = follow(&mut commands, &a, &b).await.expect("a follow").written_at;
    truth::assert_agreement(&endpoints, 5).await;
    let mut queries = endpoints.queries();
    assert!(check(&mut queries, &a, &b, fresh(&written)).await.expect("a check").following);
    let status =
        check(&mut queries, &a, &b, fresh(&old_token)).await.expect_err("a token of another history");
    assert_eq!(reason_of(&status), Some(Reason::EpochChanged), "{status:?}");
}
