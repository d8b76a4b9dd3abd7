//! I1, I2, I5 and I6 with a read model that is wiped, two projectors, two command-services and a commit whose reply is
//! lost.

mod in_doubt;

use devstack::Server as _;
use devstack::env_file::Env;
use devstack::http;
use devstack::pipeline::spec;
use devstack::services::{Program, Service, ServiceSpec};
use tests::clients::{follow, unfollow};
use tests::own::{Victim, binaries};
use tests::proxy::CommitLoser;
use tests::{Endpoints, LIMIT, Own, graph, importing, new_user, truth, until};
use tokio::task::block_in_place;

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_read_model_builds_itself_while_writes_go_on() {
    let mut own = Own::light().start_with(Env::default().with("SWEEP_EDGES_PER_SECOND", "20000")).await;
    let endpoints = own.endpoints.clone();
    let mut commands = endpoints.commands();
    let edges = graph::random(4, 500, 9_000);
    importing::all(&mut commands, &edges[..6_000], 500).await;
    truth::wait_caught_up(&endpoints).await;

    // The projector keeps running while its Neo4j is replaced by an empty one.
    own.kill(Victim::Neo4j);
    block_in_place(|| own.servers.neo4j.wipe()).expect("wiped");
    own.revive(Victim::Neo4j);
    let mut queries = endpoints.queries();
    let some = edges[0].clone();
    let seen = tests::clients::check(&mut queries, &some.0, &some.1, None).await.expect("a check");
    assert!(seen.following, "an empty read model never answers");
    importing::all(&mut commands, &edges[6_000..], 500).await;
    truth::assert_agreement(&endpoints, 5).await;

    // Then while it is stopped. A row outside of the contract, inserted manually, does not hide the rows after it.
    let pool = own.endpoints.postgres().await;
    let by_hand =
        "INSERT INTO follows VALUES (gen_random_uuid(), '00000000-0000-0000-0000-000000000000', now(), 1, 1)";
    for _ in 0..20 {
        sqlx::query(by_hand).execute(&pool).await.expect("a row");
    }
    own.kill(Victim::Projector);
    own.kill(Victim::Neo4j);
    block_in_place(|| own.servers.neo4j.wipe()).expect("wiped");
    own.revive(Victim::Neo4j);
    data_of_others_is_left_alone(&mut own).await;
    own.wait_ready();
    sqlx::query("DELETE FROM follows WHERE following_id = '00000000-0000-0000-0000-000000000000'")
        .execute(&pool)
        .await
        .expect("as before");
    truth::assert_agreement(&endpoints, 5).await;
    values_of_other_types_are_repaired(&endpoints).await;
}

/// A projector that finds another program's data writes nothing until the data is removed.
async fn data_of_others_is_left_alone(own: &mut Own) {
    let graph = own.endpoints.neo4j();
    until("a node of another program", || async {
        let made = graph.run(neo4rs::query("MERGE (:Other {id: 1})")).await;
        made.map(drop).map_err(|error| error.to_string())
    })
    .await;
    own.revive(Victim::Projector);
    let admin = own.pipeline.projector.admin_addr();
    until("the projector to name the settings", || async {
        let answer = block_in_place(|| http::get(admin, "/readyz")).map_err(|error| error.to_string())?;
        let said = answer.status == 503 && answer.body.contains("check NEO4J_URI and NEO4J_DATABASE");
        if said { Ok(()) } else { Err(answer.body) }
    })
    .await;
    let mut rows = graph.execute(neo4rs::query("MATCH (n) RETURN count(n) AS n")).await.expect("an answer");
    let row = rows.next().await.expect("an answer").expect("a row");
    assert_eq!(row.get::<i64>("n").expect("a number"), 1, "nothing was written");
    graph.run(neo4rs::query("MATCH (n:Other) DELETE n")).await.expect("the data is removed");
}

/// Values were set manually, through a client with only one number type.
async fn values_of_other_types_are_repaired(endpoints: &Endpoints) {
    let graph = endpoints.neo4j();
    for damage in [
        "r.pos = toFloat(r.pos)",
        "r.created_at = 'today'",
        "r.expires_at = 1.5",
        "r.rev = true",
        "r.dst = 7",
        "r.src = 7",
    ] {
        let damage =
            format!("MATCH ()-[r:FOLLOWS]->() WITH r, rand() AS place ORDER BY place LIMIT 1 SET {damage}");
        graph.run(neo4rs::query(&damage)).await.expect("an edge is damaged");
    }
    until("the sweep to repair them", || async {
        let wrong = "MATCH ()-[r:FOLLOWS]->() WHERE r.pos IS NOT :: INTEGER NOT NULL \
                     OR r.created_at IS NOT :: INTEGER NOT NULL OR r.rev IS NOT :: INTEGER \
                     OR r.expires_at IS NOT NULL OR r.dst IS NOT :: STRING NOT NULL \
                     OR r.src IS NOT :: STRING NOT NULL RETURN count(r) AS n";
        let mut rows = graph.execute(neo4rs::query(wrong)).await.map_err(|error| error.to_string())?;
        let row = rows.next().await.map_err(|error| error.to_string())?.ok_or("no row")?;
        let left: i64 = row.get("n").map_err(|error| error.to_string())?;
        if left == 0 { Ok(()) } else { Err(format!("{left} are still wrong")) }
    })
    .await;
    truth::assert_agreement(endpoints, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_projector_takes_over_and_the_first_one_stops() {
    let mut own = Own::light().start().await;
    let endpoints = own.endpoints.clone();
    let mut commands = endpoints.commands();
    let edges = graph::random(5, 300, 4_000);
    importing::all(&mut commands, &edges[..2_000], 100).await;
    let mut second =
        block_in_place(|| Service::start(another(&own, Program::Projector))).expect("a second projector");
    importing::all(&mut commands, &edges[2_000..3_900], 100).await;
    let first = &mut own.pipeline.projector;
    let ended = block_in_place(|| first.wait_exit(LIMIT)).expect("it was started");
    let status = ended.expect("the first projector stops");
    let log = first.log_tail(50);
    assert!(!status.success() && log.contains("has taken over this read model"), "{status}\n{log}");
    assert!(second.is_running().expect("its state is known"), "the second projector continues");
    importing::all(&mut commands, &edges[3_900..], 100).await;
    truth::assert_agreement(&endpoints, 5).await;
    block_in_place(|| second.stop()).expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_command_services_order_their_writes() {
    let own = Own::light().start().await;
    // A dump is in progress, which blocks the creation of the missing partition. It stops neither of them.
    let pool = own.endpoints.postgres().await;
    let drop_the_last = "DO $$ BEGIN EXECUTE format('DROP TABLE outbox_%s',
        to_char((now() AT TIME ZONE 'UTC')::date + 7, 'YYYYMMDD')); END $$";
    sqlx::query(drop_the_last).execute(&pool).await.expect("one partition less");
    let mut dump = pool.begin().await.expect("a transaction");
    sqlx::query("SELECT count(*) FROM outbox").execute(&mut *dump).await.expect("a dump");
    let mut second = block_in_place(|| {
        let mut second = Service::start(another(&own, Program::Command)).expect("a second command-service");
        second.wait_ready(LIMIT).expect("it gets ready");
        second
    });
    dump.rollback().await.expect("the end of the dump");
    let other = own.endpoints.clone();
    let there =
        tests::Endpoints { command: second.spec.grpc.expect("a port").to_string(), ..own.endpoints.clone() };
    let (a, b) = (graph::random(6, 200, 2_000), graph::random(7, 200, 2_000));
    let pairs: Vec<_> = (0..4).map(|_| (new_user(), new_user())).collect();
    let race = |endpoints: tests::Endpoints| {
        let pairs = pairs.clone();
        async move {
            let mut commands = endpoints.commands();
            for _ in 0..40 {
                for (x, y) in &pairs {
                    follow(&mut commands, x, y).await.expect("a follow");
                    unfollow(&mut commands, x, y).await.expect("an unfollow");
                }
            }
        }
    };
    let (mut first_commands, mut second_commands) = (other.commands(), there.commands());
    tokio::join!(
        importing::all(&mut first_commands, &a, 100),
        importing::all(&mut second_commands, &b, 100),
        race(other.clone()),
        race(there.clone()),
    );
    truth::assert_agreement(&own.endpoints, 5).await;

    // The relay's leader is killed: the other one takes over.
    block_in_place(|| second.kill9()).expect("killed");
    follow(&mut own.endpoints.commands(), &new_user(), &new_user()).await.expect("a follow");
    truth::assert_agreement(&own.endpoints, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_reply_is_lost_is_answered_once_and_stays_once() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Handle::current();
    let own = Own::light()
        .start_through(move |servers| {
            let proxy = runtime.block_on(CommitLoser::before(&mut servers.postgres));
            sender.send(proxy).expect("the test waits");
            Env::default()
        })
        .await;
    let proxy = receiver.recv().expect("a proxy");
    let endpoints = own.endpoints.clone();
    let mut commands = endpoints.commands();
    for round in 0..5 {
        proxy.lose(1);
        let (a, b) = (new_user(), new_user());
        let answer = follow(&mut commands, &a, &b).await.expect("the outcome is resolved");
        assert!(answer.changed, "round {round}: it was this command that changed it");
        until("a reply to be lost", || async {
            let lost = proxy.lost();
            if lost > round { Ok(()) } else { Err(format!("{lost} lost")) }
        })
        .await;
    }
    let edges = graph::random(8, 100, 1_000);
    proxy.lose(3);
    assert_eq!(importing::all(&mut commands, &edges, 100).await, (1_000, 0));
    in_doubt::a_job_is_started_once(&own, &proxy).await;
    truth::assert_agreement(&endpoints, 5).await;

    // PostgreSQL's host fails without closing connections: no abandoned transaction keeps its place in a pool.
    proxy.vanish();
    until("writes to go through again", || {
        let mut commands = endpoints.commands();
        async move {
            let answer = follow(&mut commands, &new_user(), &new_user()).await;
            answer.map(drop).map_err(|status| status.to_string())
        }
    })
    .await;
    truth::assert_agreement(&endpoints, 5).await;
}

/// A second process of a kind, on ports of its own.
fn another(own: &Own, program: Program) -> ServiceSpec {
    let ports = devstack::Ports::free().expect("free ports");
    let first = spec(program, &binaries(), &own.servers);
    let name = format!("{}-2", first.name);
    ServiceSpec {
        grpc: first.grpc.map(|_| devstack::ports::loopback(ports.command)),
        admin: devstack::ports::loopback(ports.command_admin),
        log: own.servers.log_file(&name),
        name,
        ..first
    }
}
