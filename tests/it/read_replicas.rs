//! I8, I10 and I13 with two read replicas: one is added, lost, wiped, slow, or of another history, and recovers.
//!
//! PostgreSQL answers no read here (`READ_SOURCE=neo4j`): a read fails unless the other replica answers it.

mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use devstack::Server as _;
use devstack::env_file::Env;
use devstack::process::Signal;
use proto::graph::v1::StoreStatus;
use proto::query::v1::{
    Explanation, GetStatusRequest, ListFollowersRequest, ListMutualsRequest, WatchEventsRequest,
};
use tests::clients::{follow, fresh, unfollow};
use tests::explained::{answered_by, check, in_time, wait_answering};
use tests::own::Victim;
use tests::{Endpoints, Own, graph, importing, new_user, truth, until};
use tokio::task::block_in_place;

use self::load::Load;

const BOTH: [&str; 2] = ["projector-0", "projector-1"];

/// A set that can grow a second read replica, and does not fail reads because the machine is small.
async fn set() -> Own {
    let settings = Env::default()
        .with("READ_SOURCE", "neo4j")
        .with("NEO4J_READ_TIMEOUT_MILLIS", "10000")
        .with("REPLICA_MAX_LAG_SECONDS", "2");
    Own::start_to_grow(settings).await
}

/// A set with both replicas, which answer, and the edges that both contain.
async fn grown_set(seed: u64) -> (Own, Vec<(String, String)>) {
    let mut own = set().await;
    let edges = graph::random(seed, 300, 3_000);
    importing::all(&mut own.endpoints.commands(), &edges, 500).await;
    own.grow();
    for replica in BOTH {
        wait_answering(&own.endpoints.queries(), replica).await;
    }
    (own, edges)
}

/// Both replicas contain what PostgreSQL contains, and all answers agree.
async fn assert_both_agree(own: &Own) {
    truth::assert_agreement(&own.endpoints, 3).await;
    truth::assert_agreement(&own.second_read_model(), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_read_replicas_share_the_reads() {
    let mut own = set().await;
    let endpoints = own.endpoints.clone();
    let edges = graph::random(31, 300, 3_000);
    importing::all(&mut endpoints.commands(), &edges, 500).await;
    truth::wait_caught_up(&endpoints).await;
    wait_answering(&endpoints.queries(), "projector-0").await;
    let second = store(&endpoints, "projector-1").await.expect("a status");
    assert!(!second.serving, "it is not there yet");

    let load = Load::start(&endpoints, &edges);
    own.grow();
    wait_answering(&endpoints.queries(), "projector-1").await;
    load.end("while a replica was added").await;
    reads_are_spread(&endpoints).await;
    a_walk_over_both_is_exact(&endpoints).await;
    assert_both_agree(&own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_read_replicas_stand_in_for_each_other() {
    let (mut own, edges) = grown_set(33).await;
    let endpoints = own.endpoints.clone();
    let load = Load::start(&endpoints, &edges);
    own.kill(Victim::Neo4j);
    // Reads continue before and after query-service has noticed the loss.
    wait_store(&endpoints, "projector-0", |store| !store.serving).await;
    load.wait_for_more(300).await;
    let answered = load.end("while a replica was lost").await;
    assert!(answered["projector-1"] > 300, "{answered:?}");
    let load = Load::start(&endpoints, &edges);
    own.revive(Victim::Neo4j);
    wait_answering(&endpoints.queries(), "projector-0").await;
    load.end("while it came back").await;
    reads_are_spread(&endpoints).await;
    assert_both_agree(&own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_or_foreign_replica_is_not_asked() {
    let (mut own, _) = grown_set(32).await;
    one_that_lags_is_not_preferred(&mut own).await;
    a_foreign_replica_changes_nothing_for_the_other(&mut own).await;
    assert_both_agree(&own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_replica_is_not_asked_until_it_has_built_itself() {
    let (mut own, edges) = grown_set(34).await;
    let endpoints = own.endpoints.clone();
    let load = Load::start(&endpoints, &edges);
    own.kill(Victim::SecondNeo4j);
    block_in_place(|| own.servers.further_neo4j[0].wipe()).expect("wiped");
    own.revive(Victim::SecondNeo4j);
    wait_answering(&endpoints.queries(), "projector-1").await;
    load.end("while a replica was wiped and built itself").await;
    reads_are_spread(&endpoints).await;
    assert_both_agree(&own).await;
}

/// Reads of one caller alternate between the replicas.
async fn reads_are_spread(endpoints: &Endpoints) {
    let mut queries = endpoints.queries();
    let mut counts = BTreeMap::new();
    for _ in 0..100 {
        let answer = check(&mut queries, &new_user(), &new_user(), None).await.expect("a check");
        *counts.entry(replica_of(answer.explanation)).or_insert(0) += 1;
    }
    // A replica that is slow for a moment gets fewer reads.
    for replica in BOTH {
        assert!(counts.get(replica).is_some_and(|count| *count > 20), "{counts:?}");
    }
}

/// One walk uses pages of both replicas, while the list changes.
async fn a_walk_over_both_is_exact(endpoints: &Endpoints) {
    let star = new_user();
    let fans: Vec<_> = (0..60).map(|_| (new_user(), star.clone())).collect();
    importing::all(&mut endpoints.commands(), &fans, 60).await;
    let mut commands = endpoints.commands();
    let passing = new_user();
    let mut last = follow(&mut commands, &passing, &star).await.expect("a follow").written_at;
    let (mut listed, mut replicas) = (Vec::new(), BTreeSet::new());
    let (mut page_token, mut as_of) = (String::new(), String::new());
    loop {
        let request = ListFollowersRequest {
            user_id: star.clone(),
            page_size: 4,
            page_token,
            consistency: if as_of.is_empty() { fresh(&last) } else { None },
            explain: true,
            ..Default::default()
        };
        let mut queries = endpoints.queries();
        let page = queries.list_followers(in_time(request)).await.expect("a page").into_inner();
        assert!(page.as_of >= last, "a walk is as fresh as its first page, or fresher");
        assert!(page.as_of >= as_of, "a walk never goes back");
        as_of = page.as_of;
        last.clone_from(&as_of);
        replicas.insert(replica_of(page.explanation));
        listed.extend(page.edges.into_iter().map(|edge| edge.user_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        // They are added and removed at the top, above the position of the walk.
        follow(&mut commands, &new_user(), &star).await.expect("a follow");
        unfollow(&mut commands, &passing, &star).await.expect("an unfollow");
    }
    listed.retain(|user| *user != passing);
    let mut wanted: Vec<_> = fans.into_iter().map(|(fan, _)| fan).collect();
    wanted.reverse();
    assert_eq!(listed, wanted, "each once, the newest first");
    assert_eq!(replicas, BOTH.map(str::to_owned).into(), "the pages came from both");
}

/// A replica whose projector hangs lags, and the other one answers.
async fn one_that_lags_is_not_preferred(own: &mut Own) {
    let endpoints = own.endpoints.clone();
    let (mut commands, mut queries) = (endpoints.commands(), endpoints.queries());
    let second = &mut own.pipeline.further_projectors[0];
    block_in_place(|| second.signal(Signal::SIGSTOP)).expect("stopped");
    let (a, b) = (new_user(), new_user());
    follow(&mut commands, &a, &b).await.expect("a follow");
    let written = follow(&mut commands, &b, &a).await.expect("a follow").written_at;
    wait_store(&endpoints, "projector-1", |store| store.serving && store.lagging).await;
    for _ in 0..30 {
        let answer = check(&mut queries, &a, &b, None).await.expect("a check");
        assert!(answer.following);
        assert_eq!(replica_of(answer.explanation), "projector-0", "the other one lags");
    }
    // For multi-hop reads recent events do not help: the replica that has reached the token must answer.
    let request = ListMutualsRequest {
        user_id: a.clone(),
        consistency: fresh(&written),
        explain: true,
        ..Default::default()
    };
    let friends = queries.list_mutuals(in_time(request)).await.expect("friends").into_inner();
    assert_eq!(friends.edges.len(), 1);
    assert_eq!(replica_of(friends.explanation), "projector-0");
    one_that_has_just_started_knows_too(own).await;
    let second = &mut own.pipeline.further_projectors[0];
    block_in_place(|| second.signal(Signal::SIGCONT)).expect("it resumes");
    wait_store(&endpoints, "projector-1", |store| store.serving && !store.lagging).await;
    reads_are_spread(&endpoints).await;
}

/// One replica that belongs to a later epoch, then to another database, and is rebuilt by its projector.
async fn a_foreign_replica_changes_nothing_for_the_other(own: &mut Own) {
    let endpoints = own.endpoints.clone();
    let second = own.second_read_model().neo4j();
    let (a, b) = (new_user(), new_user());
    let written = follow(&mut endpoints.commands(), &a, &b).await.expect("a follow").written_at;
    let mut watch =
        endpoints.queries().watch_events(WatchEventsRequest::default()).await.expect("a watch").into_inner();
    for change in ["SET c.epoch = 9000000000", "SET c.database_id = randomUUID()"] {
        // A projector that is stopped during a write keeps its lock on the checkpoint.
        truth::wait_caught_up(&endpoints).await;
        let projector = &mut own.pipeline.further_projectors[0];
        block_in_place(|| projector.signal(Signal::SIGSTOP)).expect("stopped");
        second.run(neo4rs::query(&format!("MATCH (c:Checkpoint) {change}"))).await.expect("a checkpoint");
        wait_store(&endpoints, "projector-1", |store| !store.serving && store.reason.contains("another"))
            .await;
        for _ in 0..20 {
            let answer = check(&mut endpoints.queries(), &a, &b, Some(&written)).await.expect("a check");
            assert!(answer.following);
            assert_eq!(replica_of(answer.explanation), "projector-0", "{change}");
        }
        let projector = &mut own.pipeline.further_projectors[0];
        block_in_place(|| projector.signal(Signal::SIGCONT)).expect("it resumes");
        if change.contains("database_id") {
            // A projector checks the id of the database when it opens its read model.
            own.kill(Victim::SecondProjector);
            own.revive(Victim::SecondProjector);
        }
        wait_answering(&endpoints.queries(), "projector-1").await;
    }
    // The watch has received all events, and continues.
    let last = follow(&mut endpoints.commands(), &b, &a).await.expect("a follow").written_at;
    loop {
        let message = watch.message().await.expect("the watch continues").expect("a message");
        if message.event.is_some() && message.resume_token == last {
            break;
        }
    }
}

/// A query-service that started after the projector fell behind does not consider its replica fresh.
async fn one_that_has_just_started_knows_too(own: &mut Own) {
    own.kill(Victim::Query);
    let began = Instant::now();
    own.revive(Victim::Query);
    let endpoints = own.endpoints.clone();
    // Longer than its own uptime.
    wait_store(&endpoints, "projector-1", |store| {
        let staleness = store.staleness.and_then(|staleness| Duration::try_from(staleness).ok());
        store.serving && store.lagging && staleness > Some(began.elapsed())
    })
    .await;
    wait_store(&endpoints, "projector-0", |store| store.serving).await;
    for _ in 0..30 {
        let answer = check(&mut endpoints.queries(), &new_user(), &new_user(), None).await.expect("a check");
        assert_eq!(replica_of(answer.explanation), "projector-0", "the other one lags");
    }
}

/// query-service's view of a replica.
async fn store(endpoints: &Endpoints, replica: &str) -> Result<StoreStatus, String> {
    let status = endpoints.queries().get_status(GetStatusRequest {}).await;
    let stores = status.map_err(|status| status.to_string())?.into_inner().stores;
    let found = stores.iter().find(|store| store.replica == replica);
    found.cloned().ok_or_else(|| format!("{replica} is not in {stores:?}"))
}

async fn wait_store(endpoints: &Endpoints, replica: &str, wanted: impl Fn(&StoreStatus) -> bool) {
    let wanted = &wanted;
    until("the wanted state of a replica", || async move {
        let store = store(endpoints, replica).await?;
        if wanted(&store) { Ok(()) } else { Err(format!("{store:?}")) }
    })
    .await;
}

/// The replica that gave the answer.
fn replica_of(explanation: Option<Explanation>) -> String {
    answered_by(explanation).expect("PostgreSQL answers no read here")
}
