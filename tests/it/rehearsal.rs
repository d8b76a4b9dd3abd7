//! A restored copy of a database on the original's NATS changes nothing of production.

use async_nats::jetstream::{self, consumer};
use devstack::env_file::Env;
use devstack::ports::loopback;
use devstack::services::{Program, Service, ServiceSpec};
use devstack::{Ports, pipeline};
use proto::graph::v1::StreamState;
use proto::query::v1::GetStatusRequest;
use proto::subjects;
use sqlx::{AssertSqlSafe, PgPool};
use tests::clients::{check, follow, fresh};
use tests::database::Database;
use tests::own::binaries;
use tests::status::until_stream_is;
use tests::{Own, new_user, truth};
use tokio::task::block_in_place;

fn recover(database: &Database, flags: &[&str]) {
    let env = Env::default().with("DATABASE_URL", &database.url);
    let recovered =
        block_in_place(|| devstack::services::cli(&binaries(), &env).arg("recover").args(flags).output());
    let recovered = recovered.expect("the CLI runs");
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
}

/// A command-service on another database, and production's NATS.
fn start_on(own: &Own, database: &Database) -> Service {
    let ports = Ports::free().expect("free ports");
    let first = pipeline::spec(Program::Command, &binaries(), &own.servers);
    let spec = ServiceSpec {
        name: "rehearsal".to_owned(),
        env: first.env.with("DATABASE_URL", &database.url),
        grpc: Some(loopback(ports.command)),
        admin: loopback(ports.command_admin),
        log: own.servers.log_file("rehearsal"),
        ..first
    };
    block_in_place(|| {
        let mut service = Service::start(spec).expect("the service starts");
        service.wait_ready(std::time::Duration::from_secs(60)).unwrap_or_else(|error| panic!("{error:#}"));
        service
    })
}

/// The id of production's database, which a copy keeps.
async fn make_a_copy_of(production: &PgPool, copy: &Database) {
    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT database_id FROM log_lock").fetch_one(production).await.expect("an id");
    let statement = format!("UPDATE log_lock SET database_id = '{id}'");
    sqlx::query(AssertSqlSafe(statement)).execute(&copy.pool).await.expect("a copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsed_restore_leaves_production_alone() {
    let own = Own::light().start().await;
    let production = own.endpoints.clone();
    let mut commands = production.commands();
    follow(&mut commands, &new_user(), &new_user()).await.expect("a follow");
    truth::wait_caught_up(&production).await;
    let context = jetstream::new(production.nats().await);
    let stream = context.get_stream(subjects::STREAM).await.expect("the stream");
    let made = stream.cached_info().created;
    let durable = consumer::pull::Config { durable_name: Some("theirs".to_owned()), ..Default::default() };
    stream.create_consumer(durable).await.expect("a subscriber's consumer");

    // As documented: restore, recover, start.
    let copy = Database::create(&production).await;
    make_a_copy_of(&production.postgres().await, &copy).await;
    recover(&copy, &["--yes"]);
    let rehearsal = start_on(&own, &copy);
    let there = production.through(&rehearsal);
    let blocked = until_stream_is(&there.commands(), StreamState::Blocked, "10065").await;
    assert!(blocked.problem.contains("stream FOLLOWGRAPH of epoch 1"), "{}", blocked.problem);
    follow(&mut there.commands(), &new_user(), &new_user()).await.expect("writes continue there");

    // Nor with an operator's consent, given by mistake: production's heartbeats are received.
    recover(&copy, &["--yes", "--keep-epoch", "--replace-stream"]);
    until_stream_is(&there.commands(), StreamState::Blocked, "without a heartbeat of epoch 1").await;

    let (a, b) = (new_user(), new_user());
    let written_at = follow(&mut commands, &a, &b).await.expect("a follow").written_at;
    let answer = check(&mut production.queries(), &a, &b, fresh(&written_at)).await.expect("a check");
    assert!(answer.following, "production answers as before");
    until_stream_is(&commands, StreamState::Ok, "").await;
    let status = production.queries().get_status(GetStatusRequest {}).await.expect("a status").into_inner();
    assert_eq!(
        status.head.expect("a head").epoch,
        1,
        "production's readers use production's heartbeats only"
    );
    let mut stream = context.get_stream(subjects::STREAM).await.expect("the stream is there");
    assert_eq!(stream.cached_info().created, made, "it is the same stream");
    assert!(stream.consumer_info("theirs").await.is_ok(), "with its consumers");
    truth::assert_agreement(&production, 5).await;

    // A process of another history does not change a stream of its own name either.
    drop(rehearsal);
    let config = stream.info().await.expect("the stream").config.clone();
    assert!(config.metadata.contains_key("followgraph.database_id"), "{:?}", config.metadata);
    let other = Database::create(&production).await;
    let foreign = start_on(&own, &other);
    let there = production.through(&foreign);
    until_stream_is(&there.commands(), StreamState::Blocked, "belongs to database").await;
    drop(foreign);
    let stream = context.get_stream(subjects::STREAM).await.expect("the stream is there");
    assert_eq!(stream.cached_info().created, made);
    copy.remove(&production).await;
    other.remove(&production).await;
}
