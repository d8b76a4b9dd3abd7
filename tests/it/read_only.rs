//! PostgreSQL rejects writes: after a failover, or by its settings.

use std::time::Duration;

use devstack::env_file::Env;
use devstack::{Ports, Principal, Server as _};
use proto::error::Reason;
use proto::graph::v1::StreamState;
use sqlx::{Connection as _, PgConnection};
use tests::clients::{check, follow, fresh};
use tests::fault_proxy::FaultProxy;
use tests::own::Victim;
use tests::refusal::assert_refused;
use tests::status::until_stream_is;
use tests::{Commands, Endpoints, LIMIT, Own, new_user, truth, until};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tonic_types::StatusExt as _;

/// Clients that write during a failover.
const WRITERS: usize = 4;

/// The follow had no effect, and can be repeated.
async fn assert_not_committed(commands: &mut Commands) {
    let refused = follow(commands, &new_user(), &new_user()).await.expect_err("PostgreSQL takes no writes");
    assert_refused(&refused, Reason::NotCommitted, None);
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
}

async fn until_not_ready(own: &Own) {
    until("/readyz to be false", || async {
        if own.pipeline.command.is_ready() { Err("ready".to_owned()) } else { Ok(()) }
    })
    .await;
}

async fn follows_again(commands: &Commands) -> (String, String, String) {
    until("a follow", || {
        let mut commands = commands.clone();
        async move {
            let (a, b) = (new_user(), new_user());
            let done = follow(&mut commands, &a, &b).await.map_err(|status| status.to_string())?;
            Ok((a, b, done.written_at))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_sessions_are_closed_and_writes_come_back() {
    let mut own = Own::light().start().await;
    let mut commands = own.endpoints.commands();
    follow(&mut commands, &new_user(), &new_user()).await.expect("a follow");

    let owner = own.endpoints.postgres().await;
    set(&owner, "ALTER ROLE followgraph_command SET default_transaction_read_only = on").await;
    end_sessions(&own).await;
    assert_not_committed(&mut commands).await;
    until_not_ready(&own).await;
    until_stream_is(&commands, StreamState::Standby, "read-only").await;

    set(&owner, "ALTER ROLE followgraph_command SET default_transaction_read_only = off").await;
    follows_again(&commands).await;
    own.wait_ready();
    until_stream_is(&commands, StreamState::Ok, "").await;
    truth::assert_agreement(&own.endpoints, 5).await;
}

async fn set(owner: &sqlx::PgPool, statement: &'static str) {
    sqlx::query(statement).execute(owner).await.expect("the owner made the role");
}

/// Settings of a role apply to new sessions.
async fn end_sessions(own: &Own) {
    let address = own.servers.postgres.url_of(Principal::Command);
    let mut session = PgConnection::connect(&address).await.expect("a session");
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE usename = current_user AND pid <> pg_backend_pid()",
    )
    .execute(&mut session)
    .await
    .expect("they end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_no_fork_and_takes_writes_after_its_promotion() {
    let mut own = Own::light().start().await;
    let mut commands = own.endpoints.commands();
    follow(&mut commands, &new_user(), &new_user()).await.expect("a follow");
    truth::wait_caught_up(&own.endpoints).await;
    own.kill(Victim::Postgres);
    own.servers.postgres.copy_data().expect("a copy");
    own.revive(Victim::Postgres);
    for _ in 0..3 {
        follows_again(&commands).await;
    }
    truth::wait_caught_up(&own.endpoints).await;
    let head = truth::head(&own.endpoints).await;

    // The address leads to a standby that lags behind the stream.
    own.kill(Victim::Postgres);
    own.servers.postgres.swap_with_copy().expect("the copy in its place");
    own.servers.postgres.make_standby().expect("a standby");
    own.revive(Victim::Postgres);
    until_stream_is(&commands, StreamState::Standby, "standby").await;
    assert_not_committed(&mut commands).await;
    until_not_ready(&own).await;
    assert!(truth::head(&own.endpoints).await < head, "it lags");

    // It leads to the primary again, and no fork was recorded.
    own.kill(Victim::Postgres);
    own.servers.postgres.swap_with_copy().expect("the primary in its place");
    own.revive(Victim::Postgres);
    follows_again(&commands).await;
    until_stream_is(&commands, StreamState::Ok, "").await;

    // Then to an up-to-date standby, until that is promoted.
    own.kill(Victim::Postgres);
    own.servers.postgres.make_standby().expect("a standby");
    own.revive(Victim::Postgres);
    until_stream_is(&commands, StreamState::Standby, "standby").await;
    assert_not_committed(&mut commands).await;
    let events = truth::stream(&own.endpoints).await.len();
    block_in_place(|| own.servers.postgres.promote()).expect("promoted");
    let (a, b, written_at) = follows_again(&commands).await;
    own.wait_ready();
    until_stream_is(&commands, StreamState::Ok, "").await;
    truth::wait_caught_up(&own.endpoints).await;
    assert!(truth::stream(&own.endpoints).await.len() > events, "the relay publishes again");
    let answer = check(&mut own.endpoints.queries(), &a, &b, fresh(&written_at)).await.expect("a check");
    assert!(answer.following);
    truth::assert_agreement(&own.endpoints, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_by_streaming_replication_takes_over_without_a_loss() {
    let mut proxy = None;
    let mut own = Own::light()
        .start_through(|servers| {
            let port = servers.postgres.port();
            let started = block_in_place(|| Handle::current().block_on(FaultProxy::start(port)));
            servers.postgres.lead_services_through(started.port());
            proxy = Some(started);
            Env::default()
        })
        .await;
    let proxy = proxy.expect("it was started");
    let commands = own.endpoints.commands();
    let mut standby = block_in_place(|| {
        let port = Ports::free().expect("free ports").postgres;
        let log = own.servers.log_file("standby");
        own.servers.postgres.start_again_with_standby(&log, port).expect("a standby")
    });
    follows_again(&commands).await;
    // Writers that see each rejection, and continue.
    let writers: Vec<_> =
        (0..WRITERS).map(|_| tokio::spawn(writes_until_promoted(commands.clone()))).collect();
    for _ in 0..20 {
        follow(&mut commands.clone(), &new_user(), &new_user()).await.expect("both servers have it");
    }
    own.kill(Victim::Postgres);
    proxy.lead_to(standby.port());
    proxy.cut();
    until_stream_is(&commands, StreamState::Standby, "standby").await;
    assert_not_committed(&mut commands.clone()).await;
    block_in_place(|| standby.promote()).expect("promoted");
    let endpoints = Endpoints { database_url: standby.url(), ..own.endpoints.clone() };
    let promoted = endpoints.postgres().await;
    let mut acknowledged = 0;
    for writer in writers {
        for (a, b) in writer.await.expect("it writes again") {
            acknowledged += 1;
            let there =
                "SELECT count(*) FROM follows WHERE follower_id = $1::uuid AND following_id = $2::uuid";
            let rows: i64 =
                sqlx::query_scalar(there).bind(&a).bind(&b).fetch_one(&promoted).await.expect("a count");
            assert_eq!(rows, 1, "an acknowledged follow");
        }
    }
    assert!(acknowledged > WRITERS, "they wrote before the failover, and after it");
    println!("{acknowledged} follows were acknowledged");
    own.wait_ready();
    until_stream_is(&commands, StreamState::Ok, "").await;
    truth::assert_agreement(&endpoints, 5).await;
    block_in_place(|| standby.stop()).expect("it stops");
}

/// Follows until one was rejected and a later one acknowledged. Returns all acknowledged ones.
async fn writes_until_promoted(mut commands: Commands) -> Vec<(String, String)> {
    let (mut acknowledged, mut refused) = (Vec::new(), false);
    let begun = std::time::Instant::now();
    loop {
        let (a, b) = (new_user(), new_user());
        match follow(&mut commands, &a, &b).await {
            Ok(_) => {
                acknowledged.push((a, b));
                if refused {
                    return acknowledged;
                }
            }
            Err(_) => {
                refused = true;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        assert!(begun.elapsed() < LIMIT, "no follow is acknowledged");
    }
}
