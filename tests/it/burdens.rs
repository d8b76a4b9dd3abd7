//! Limits of the resources that one client can use: memory stays below 256 MiB, and ordinary clients lose no call.

use std::net::SocketAddr;
use std::time::Duration;

use devstack::env_file::Env;
use devstack::services::Service;
use prost::Message as _;
use proto::command::v1::{FollowRequest, ReplaceFollowingRequest};
use proto::error::{Reason, reason_of};
use proto::legacy::v2::GetFollowersRequest;
use proto::query::v1::{ExportEdgesRequest, WatchEventsRequest};
use tests::burden::{Ordinary, Stubborn, bodies, frame, idle, peak_mib, refusal};
use tests::clients::{check, follow};
use tests::metrics::scrape;
use tests::own::{command_service_beside, query_service_beside};
use tests::{Endpoints, LIMIT, importing, new_user, truth};

const GOOD: &str = "the-good-callers-secret-000000001";
const HOG: &str = "the-hogs-secret-0000000000000002==";
const MOST_MIB: usize = 256;
const CLIENTS: usize = 64;

const FOLLOW: &str = "/followgraph.command.v1.CommandService/Follow";
const REPLACE: &str = "/followgraph.command.v1.CommandService/ReplaceFollowing";
const WATCH: &str = "/followgraph.query.v1.QueryService/WatchEvents";
const EXPORT: &str = "/followgraph.query.v1.QueryService/ExportEdges";
const GET_FOLLOWERS: &str = "/nova.graph_service.v2.GraphService/GetFollowers";

fn settings() -> Env {
    let tokens = format!("good=read+write+admin:{GOOD},hog=read+write+admin:{HOG}");
    Env::default().with("AUTH_TOKENS", tokens).with("RESPONSE_WRITE_TIMEOUT_SECONDS", "5")
}

fn address(service: &Service) -> String {
    service.spec.grpc.expect("a port").to_string()
}

/// Ordinary clients that send follows.
fn writers(endpoints: &Endpoints) -> Ordinary {
    Ordinary::start(CLIENTS, |_| {
        let (endpoints, actor) = (endpoints.with_token(GOOD), new_user());
        let commands = endpoints.commands();
        move || {
            let (mut commands, actor) = (commands.clone(), actor.clone());
            async move { follow(&mut commands, &actor, &new_user()).await.map(drop) }
        }
    })
}

/// Ordinary clients that send checks.
fn readers(endpoints: &Endpoints) -> Ordinary {
    Ordinary::start(CLIENTS, |_| {
        let (endpoints, viewer) = (endpoints.with_token(GOOD), new_user());
        let queries = endpoints.queries();
        move || {
            let (mut queries, viewer) = (queries.clone(), viewer.clone());
            async move { check(&mut queries, &viewer, &new_user(), None).await.map(drop) }
        }
    })
}

fn value(admin: SocketAddr, metric: &str, label: &str) -> f64 {
    let samples = scrape(admin).into_iter().filter(|sample| sample.metric == metric);
    let counted =
        samples.filter(|sample| label.is_empty() || sample.labels.values().any(|value| value == label));
    counted.map(|sample| sample.value).sum()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let state = async {
        while !tokio::task::block_in_place(&holds) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(LIMIT, state).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form, with nothing else on the machine: cargo xtask test --release -- --test it burdens -- --ignored"]
async fn stalled_uploads_cost_no_more_than_a_share() {
    let shared = Endpoints::shared();
    let service = command_service_beside(&shared, settings());
    let here = shared.through(&service);
    let ordinary = writers(&here);
    ordinary.make(2).await;

    // Without a token, even the first byte is rejected.
    let client = Stubborn::connect(&address(&service), 65_535).await;
    let whole = frame(&vec![7; 4_000_000]);
    let mut open = Vec::new();
    for _ in 0..250 {
        let (response, mut body) = client.begin(FOLLOW, None).await;
        let _ = body.send_data(whole.slice(..whole.len() - 8), false);
        open.push((response, body));
    }
    for (response, _body) in open {
        let status = refusal(response).await.expect("a refusal");
        assert_eq!(reason_of(&status), Some(Reason::Unauthenticated), "{status:?}");
    }
    // With a token, the caller's share is accepted.
    let list = ReplaceFollowingRequest {
        actor_id: new_user(),
        target_ids: (0..90_000).map(|_| new_user()).collect(),
        ..Default::default()
    };
    let whole = frame(&list.encode_to_vec());
    let mut reasons = Vec::new();
    let mut open = Vec::new();
    for _ in 0..250 {
        let (response, mut body) = client.begin(REPLACE, Some(HOG)).await;
        let _ = body.send_data(whole.slice(..whole.len() - 8), false);
        open.push((response, body));
    }
    for (response, _body) in open {
        let status = tokio::time::timeout(LIMIT, refusal(response)).await.expect("it ends");
        reasons.push(status.as_ref().and_then(reason_of).expect("a reason"));
    }
    assert!(
        reasons.contains(&Reason::TooManyCalls) && reasons.contains(&Reason::RequestStalled),
        "{reasons:?}"
    );
    let small = FollowRequest { actor_id: new_user(), target_id: new_user(), ..Default::default() };
    assert!(
        refusal(client.ask(FOLLOW, Some(HOG), &small).await).await.is_none(),
        "its small calls are served"
    );
    ordinary.make(2).await;
    let made = ordinary.stop().await;
    let peak = peak_mib(&service);
    println!("250 stalled uploads: {peak} MiB, {made} concurrent follows");
    assert!(peak < MOST_MIB, "{peak} MiB");
    let admin = service.admin_addr();
    tokio::task::block_in_place(|| {
        assert!(value(admin, "grpc_server_calls_by_caller_total", "good") >= made as f64);
        assert!(value(admin, "grpc_server_calls_by_caller_total", "hog") >= 250.0);
        assert!(value(admin, "grpc_server_calls_refused_total", "request_bytes") > 0.0);
        assert!(value(admin, "grpc_server_calls_stalled_total", "request") > 0.0);
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form, with nothing else on the machine: cargo xtask test --release -- --test it burdens -- --ignored"]
async fn stalled_downloads_and_slow_watchers_are_reset() {
    let shared = Endpoints::shared();
    let popular = new_user();
    let edges: Vec<_> = (0..10_000).map(|_| (new_user(), popular.clone())).collect();
    importing::all(&mut shared.commands(), &edges, 1_000).await;
    truth::wait_caught_up(&shared).await;
    let service = query_service_beside(&shared, settings());
    let here = shared.reading_through(&service);
    truth::wait_answering(&here.with_token(GOOD)).await;
    let (admin, address) = (service.admin_addr(), address(&service));
    let ordinary = readers(&here);
    ordinary.make(2).await;

    // 1,000 large responses that are not read, without a token, in parts that the stores can deliver.
    let ask = GetFollowersRequest {
        user_id: popular.clone(),
        limit: 10_000,
        viewer_id: new_user(),
        ..Default::default()
    };
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(Stubborn::connect(&address, 0).await);
    }
    let mut untaken = Vec::new();
    for slice in 0..25 {
        let client = &clients[slice % clients.len()];
        let mut responses = Vec::new();
        for _ in 0..40 {
            responses.push(client.ask(GET_FOLLOWERS, None, &ask).await);
        }
        untaken.extend(bodies(responses).await);
    }
    assert_eq!(untaken.len(), 1_000);
    // 100 watchers that read nothing, and two exports.
    let mut watchers = Vec::new();
    for _ in 0..100 {
        watchers.push(clients[0].ask(WATCH, Some(HOG), &WatchEventsRequest::default()).await);
    }
    let watchers = bodies(watchers).await;
    let mut exports = Vec::new();
    for _ in 0..2 {
        exports.push(clients[1].ask(EXPORT, Some(HOG), &ExportEdgesRequest::default()).await);
    }
    let exports = bodies(exports).await;
    until("all unread streams are reset", || {
        value(admin, "grpc_server_unsent_bytes", "") == 0.0 && value(admin, "query_watches", "") == 0.0
    })
    .await;
    ordinary.make(2).await;
    let made = ordinary.stop().await;
    let peak = peak_mib(&service);
    println!("1,000 stalled downloads, 100 slow watchers: {peak} MiB, {made} concurrent checks");
    assert!(peak < MOST_MIB, "{peak} MiB");
    tokio::task::block_in_place(|| {
        assert!(value(admin, "grpc_server_calls_stalled_total", "response") > 0.0);
    });
    // The places of the exports are free again.
    let mut queries = here.with_token(GOOD).queries();
    let export = queries.export_edges(ExportEdgesRequest::default()).await.expect("a place");
    assert!(export.into_inner().message().await.expect("a part").is_some());
    drop((untaken, watchers, exports, clients));
    one_connection_may_leave_a_quarter_unread(&shared, &ask).await;
}

/// The read model returns large lists too slowly to fill a quarter of the default limit, so this uses a smaller one.
async fn one_connection_may_leave_a_quarter_unread(shared: &Endpoints, ask: &GetFollowersRequest) {
    let service = query_service_beside(shared, settings().with("MAX_UNSENT_BYTES", "4194304"));
    truth::wait_answering(&shared.reading_through(&service).with_token(GOOD)).await;
    let client = Stubborn::connect(&address(&service), 0).await;
    let mut unread = Vec::new();
    for _ in 0..3 {
        unread.extend(bodies(vec![client.ask(GET_FOLLOWERS, None, ask).await]).await);
    }
    let admin = service.admin_addr();
    let refused = || value(admin, "grpc_server_calls_refused_total", "unsent_connection");
    assert!(tokio::task::block_in_place(refused) > 0.0, "three lists are more than a quarter");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form, with nothing else on the machine: cargo xtask test --release -- --test it burdens -- --ignored"]
async fn ten_thousand_idle_connections_make_room() {
    let shared = Endpoints::shared();
    let command = command_service_beside(&shared, settings());
    let query = query_service_beside(&shared, settings());
    let here = shared.through(&command).reading_through(&query);
    let (writers, readers) = (writers(&here), readers(&here));
    writers.make(1).await;
    readers.make(1).await;
    for service in [&command, &query] {
        let sockets = idle(&address(service), 10_000).await;
        writers.make(1).await;
        readers.make(1).await;
        let admin = service.admin_addr();
        tokio::task::block_in_place(|| {
            let open = value(admin, "grpc_server_connections", "");
            assert!(open <= 2_000.0, "{open} connections");
            // The server may close silent connections to make room.
            assert!(value(admin, "grpc_server_connections_closed_total", "") >= 7_900.0);
            assert!(value(admin, "grpc_server_connections_closed_total", "room") >= 1_000.0);
        });
        drop(sockets);
        let peak = peak_mib(service);
        println!("10,000 idle connections: {peak} MiB");
        assert!(peak < MOST_MIB, "{peak} MiB");
    }
    writers.stop().await;
    readers.stop().await;
}
