//! A rolling upgrade and a rollback: two versions of each service run at once, under load. No call fails, and no
//! acknowledged write is lost.
//!
//! The next version of the contract has one more field in every event, which older readers ignore, and one more verb,
//! at which they stop (feature `next-version`).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devstack::env_file::Env;
use devstack::services::{Program, Service};
use proto::command::v1::RemoveFollowerRequest;
use proto::command::v1::command_service_client::CommandServiceClient;
use proto::event::{EdgeKey, EdgeKind};
use proto::query::v1::query_service_client::QueryServiceClient;
use proto::{Token, UserId};
use tests::balancer::Balancer;
use tests::clients::{Bearer, channel, check, follow, fresh, was_never_sent};
use tests::metrics::{calls_answered, scrape};
use tests::own::{binaries, next_binaries, released_binaries};
use tests::{Commands, Endpoints, LIMIT, Own, Queries, explained, new_user, truth, until};
use tokio::task::{JoinSet, block_in_place};
use tonic::Status;

const CLIENTS: usize = 4;
/// Number of calls that show that a process gets its share of the load.
const SOME: f64 = 50.0;

/// Clients that follow and read it back, over both balancers, until they must leave.
struct Load {
    leave: Arc<AtomicBool>,
    clients: JoinSet<Vec<(String, String)>>,
}

impl Load {
    fn start(commands: &Balancer, queries: &Balancer, token: &str) -> Self {
        let leave = Arc::<AtomicBool>::default();
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let bearer = Bearer::new(token);
            let commands =
                CommandServiceClient::with_interceptor(channel(&commands.address()), bearer.clone());
            let queries = QueryServiceClient::with_interceptor(channel(&queries.address()), bearer);
            clients.spawn(follow_and_look(commands, queries, Arc::clone(&leave)));
        }
        Self { leave, clients }
    }

    /// Ends all clients; returns the acknowledged follows.
    async fn end(mut self) -> BTreeSet<(String, String)> {
        self.leave.store(true, Ordering::SeqCst);
        let mut acknowledged = BTreeSet::new();
        while let Some(ended) = self.clients.join_next().await {
            acknowledged.extend(ended.expect("no call fails, and no answer is wrong"));
        }
        acknowledged
    }
}

async fn follow_and_look(
    commands: Commands,
    queries: Queries,
    leave: Arc<AtomicBool>,
) -> Vec<(String, String)> {
    let actor = new_user();
    let mut acknowledged = Vec::new();
    while !leave.load(Ordering::SeqCst) {
        let target = new_user();
        let done = sent(|| {
            let (mut commands, actor, target) = (commands.clone(), actor.clone(), target.clone());
            async move { follow(&mut commands, &actor, &target).await }
        })
        .await;
        let seen = sent(|| {
            let (mut queries, actor, target) = (queries.clone(), actor.clone(), target.clone());
            let written = fresh(&done.written_at);
            async move { check(&mut queries, &actor, &target, written).await }
        })
        .await;
        assert!(seen.following, "a read with the token of a write sees it");
        acknowledged.push((actor.clone(), target));
    }
    acknowledged
}

/// The answer of a call. Repeats only a call that was never sent.
async fn sent<T, F: Future<Output = Result<T, Status>>>(mut call: impl FnMut() -> F) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(status) => assert!(was_never_sent(&status), "no call fails: {status:?}"),
        }
    }
}

/// Waits until each of these has answered some more calls.
async fn all_have_a_share(services: &[&Service]) {
    for service in services {
        let calls = || block_in_place(|| calls_answered(service.admin_addr()));
        let before = calls();
        until("traffic at each process", || async {
            let more = calls() - before;
            if more > SOME { Ok(()) } else { Err(format!("{}: {more} calls", service.name())) }
        })
        .await;
    }
}

/// Stops a process that receives calls and starts another version of it in its place.
async fn replace(balancer: &Balancer, service: &mut Service, with: &Path) {
    balancer.drain(service).await;
    start_as(service, with);
    balancer.add(service);
}

/// Starts another version of a stopped process.
fn start_as(service: &mut Service, version: &Path) {
    version.clone_into(&mut service.spec.binaries);
    block_in_place(|| {
        service.start_again()?;
        service.wait_ready(LIMIT)
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_at_once_and_back_again() {
    let (older, newer) = (binaries(), next_binaries());
    let settings = Env::default()
        .with("MAX_CONNECTION_AGE_SECONDS", "1")
        // All servers share one small machine here: that alone must not make a read slow.
        .with("NEO4J_READ_TIMEOUT_MILLIS", "10000");
    let mut own = Own::start_to_grow(settings).await;
    own.grow_from(&newer);
    let endpoints = own.endpoints.clone();
    let mut command = block_in_place(|| own.another_from(&newer, Program::Command));
    let query = block_in_place(|| own.another_from(&newer, Program::Query));
    for replica in ["projector-0", "projector-1"] {
        explained::wait_answering(&endpoints.queries(), replica).await;
    }

    // Two versions of each: the newer writer adds a field, which older readers ignore.
    let (writes, reads) = (Balancer::start().await, Balancer::start().await);
    for (balancer, service) in [
        (&writes, &own.pipeline.command),
        (&writes, &command),
        (&reads, &own.pipeline.query),
        (&reads, &query),
    ] {
        balancer.add(service);
    }
    let load = Load::start(&writes, &reads, &endpoints.token);
    all_have_a_share(&[&own.pipeline.command, &command, &own.pipeline.query, &query]).await;
    let (by_newer, all) = events(&endpoints).await;
    assert!(by_newer > 20 && all - by_newer > 20, "{by_newer} of {all} events by the newer version");
    assert!(block_in_place(|| own.pipeline.projector.is_running()).expect("its status is readable"));

    // The first event of a kind that older programs do not know.
    let (removed, revision) = remove_a_follower(&endpoints.through(&command)).await;
    let status = block_in_place(|| own.pipeline.projector.wait_exit(LIMIT)).expect("its status is readable");
    let log = own.pipeline.projector.log_tail(20);
    let code = status.expect("the older projector stops").code();
    assert!(code.is_some_and(|code| code != 0), "an orderly end that says that something is wrong: {log}");
    assert!(log.contains("unknown verb 1000"), "{log}");
    assert!(truth::neo4j::edges(&endpoints.neo4j()).await.contains_key(&removed), "it has not skipped it");
    // The older query-service cannot follow the events for a while, and reads fall back to PostgreSQL.
    all_have_a_share(&[&own.pipeline.command, &command, &own.pipeline.query, &query]).await;

    // The newer projector resumes where the older one stopped.
    start_as(&mut own.pipeline.projector, &newer);
    until("the newer projector to continue", || async {
        let samples = block_in_place(|| scrape(own.pipeline.projector.admin_addr()));
        let value = |name: &str| -> f64 {
            samples.iter().filter(|sample| sample.metric == name).map(|sample| sample.value).sum()
        };
        assert!(value("projector_resets_total") == 0.0, "the projector was reset");
        let visible = value("projector_visible_revision");
        if visible >= revision { Ok(()) } else { Err(format!("{visible} of {revision}")) }
    })
    .await;
    assert!(!truth::neo4j::edges(&endpoints.neo4j()).await.contains_key(&removed));

    // The rest of the upgrade.
    replace(&reads, &mut own.pipeline.query, &newer).await;
    replace(&writes, &mut own.pipeline.command, &newer).await;
    all_have_a_share(&[&own.pipeline.command, &command, &own.pipeline.query, &query]).await;

    // Events of the new kind exist, so command-service alone can be rolled back. The last process to be rolled back
    // leads the relay.
    replace(&writes, &mut own.pipeline.command, &older).await;
    writes.drain(&mut command).await;
    remove_a_follower(&endpoints).await;
    all_have_a_share(&[&own.pipeline.command, &own.pipeline.query, &query]).await;

    let acknowledged = load.end().await;
    let truth = truth::assert_read_model(&endpoints, 3).await;
    truth::assert_read_model(&own.second_read_model(), 0).await;
    let follows = truth::follows(&truth.edges).into_keys().collect::<BTreeSet<_>>();
    assert_eq!(follows, acknowledged, "the acknowledged follows, and no others");
    println!("{} follows, each read again; none failed", acknowledged.len());
}

/// Upgrades the schema first, then the services one by one; then rolls the services back on the newer schema.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: cargo xtask upgrade-test --from REVISION"]
async fn upgrade_from_a_release_and_rollback_lose_nothing() {
    let (older, newer) = (released_binaries(), binaries());
    let settings =
        Env::default().with("MAX_CONNECTION_AGE_SECONDS", "1").with("NEO4J_READ_TIMEOUT_MILLIS", "10000");
    let mut own = Own::start_from(&older, settings).await;
    let endpoints = own.endpoints.clone();
    let (writes, reads) = (Balancer::start().await, Balancer::start().await);
    writes.add(&own.pipeline.command);
    reads.add(&own.pipeline.query);
    let load = Load::start(&writes, &reads, &endpoints.token);
    all_have_a_share(&[&own.pipeline.command, &own.pipeline.query]).await;

    own.migrate_with(&newer);
    all_have_a_share(&[&own.pipeline.command, &own.pipeline.query]).await;

    let mut command = block_in_place(|| own.another_from(&newer, Program::Command));
    let mut query = block_in_place(|| own.another_from(&newer, Program::Query));
    writes.add(&command);
    reads.add(&query);
    all_have_a_share(&[&own.pipeline.command, &command, &own.pipeline.query, &query]).await;

    replace_projector(&mut own, &newer);
    replace(&reads, &mut own.pipeline.query, &newer).await;
    replace(&writes, &mut own.pipeline.command, &newer).await;
    all_have_a_share(&[&own.pipeline.command, &command, &own.pipeline.query, &query]).await;

    replace(&writes, &mut own.pipeline.command, &older).await;
    replace(&reads, &mut own.pipeline.query, &older).await;
    all_have_a_share(&[&own.pipeline.command, &command, &own.pipeline.query, &query]).await;
    writes.drain(&mut command).await;
    reads.drain(&mut query).await;
    replace_projector(&mut own, &older);
    all_have_a_share(&[&own.pipeline.command, &own.pipeline.query]).await;

    let acknowledged = load.end().await;
    let truth = truth::assert_read_model(&endpoints, 0).await;
    let follows = truth::follows(&truth.edges).into_keys().collect::<BTreeSet<_>>();
    assert_eq!(follows, acknowledged, "the acknowledged follows, and no others");
    println!("{} follows, each read again; none failed", acknowledged.len());
}

/// Stops the projector and starts another version of it on the same read model.
fn replace_projector(own: &mut Own, with: &Path) {
    block_in_place(|| own.pipeline.projector.stop()).unwrap_or_else(|error| panic!("{error:#}"));
    start_as(&mut own.pipeline.projector, with);
}

/// Number of events written by the next version, and of all events.
async fn events(endpoints: &Endpoints) -> (i64, i64) {
    let count = "SELECT count(*) FILTER (WHERE position('the next version'::bytea IN payload) > 0), count(*) FROM outbox";
    sqlx::query_as(count).fetch_one(&endpoints.postgres().await).await.expect("the outbox is readable")
}

/// An edge that was removed, and the revision of its end.
async fn remove_a_follower(endpoints: &Endpoints) -> (EdgeKey, f64) {
    let mut commands = endpoints.commands();
    let (fan, star) = (new_user(), new_user());
    follow(&mut commands, &fan, &star).await.expect("a follow");
    let request = RemoveFollowerRequest {
        actor_id: star.clone(),
        follower_id: fan.clone(),
        ..RemoveFollowerRequest::default()
    };
    let answer = commands.remove_follower(request).await.expect("a removal").into_inner();
    let [source, target] = [&fan, &star].map(|id| UserId::parse(id).expect("an id"));
    let written = Token::parse(&answer.written_at).expect("a token");
    (EdgeKey { kind: EdgeKind::Follow, source, target }, written.revision.0 as f64)
}
