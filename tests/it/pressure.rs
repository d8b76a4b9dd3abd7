//! Reads under pressure and after cold starts: ordinary callers are neither rejected nor sent to PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proto::command::v1::{ImportEdge, ImportEdgesRequest};
use proto::error::{Reason, reason_of};
use proto::query::v1::{GetStatusRequest, ListFollowersRequest, WatchEventsRequest};
use tests::asks::{Act, Ask};
use tests::clients::{Commands, Queries, check, follow, fresh};
use tests::explained::wait_answering;
use tests::metrics::scrape;
use tests::own::Victim;
use tests::truth::wait_caught_up;
use tests::{Own, new_user, until, user};
use tokio::time::{Instant, sleep_until};
use tonic::Code;
use tonic_types::StatusExt as _;

/// Concurrent lists of one client, over one connection.
const IN_FLIGHT: usize = 800;
/// Clients that together send a thousand checks per second.
const CLIENTS: usize = 64;
const EVERY: Duration = Duration::from_millis(64);
/// Number of checks of each.
const CHECKS: u32 = 60;
/// Clients that read all events.
const WATCHERS: usize = 16;
/// Number of edges of an import.
const IMPORTED: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form, with nothing else on the machine: cargo xtask test --release -- --test it pressure -- --ignored"]
async fn lists_in_flight_open_no_breaker_and_stop_no_checks() {
    let own = Own::start().await;
    wait_answering(&own.endpoints.queries(), "projector-0").await;
    let commands = own.endpoints.commands();
    let popular = user();
    let asks: Vec<_> = (0..200).map(|_| Ask::new(Act::Follow, user(), popular)).collect();
    tests::asks::batch(&commands, &asks, false, None).await.expect("follows");
    wait_caught_up(&own.endpoints).await;

    let (over, refused, answered) = (Arc::new(AtomicBool::new(false)), counter(), counter());
    let queries = own.endpoints.queries();
    let lists: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (mut queries, over) = (queries.clone(), over.clone());
            let (refused, answered) = (refused.clone(), answered.clone());
            tokio::spawn(async move {
                let request = ListFollowersRequest {
                    user_id: popular.to_string(),
                    page_size: 200,
                    ..ListFollowersRequest::default()
                };
                while !over.load(Ordering::SeqCst) {
                    match queries.list_followers(request.clone()).await {
                        Ok(page) => {
                            assert_eq!(page.into_inner().edges.len(), 200);
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(status) => {
                            assert_eq!(reason_of(&status), Some(Reason::ReadModelBusy), "{status:?}");
                            let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
                            refused.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(retry.expect("a retry delay")).await;
                        }
                    }
                }
            })
        })
        .collect();
    until("lists to be answered and refused", || async {
        let (answered, refused) = (answered.load(Ordering::SeqCst), refused.load(Ordering::SeqCst));
        let enough = answered > 1_000 && refused > 100;
        if enough { Ok(()) } else { Err(format!("{answered} answered, {refused} refused")) }
    })
    .await;
    // Another client, during that load.
    let mut others = own.endpoints.queries();
    for _ in 0..100 {
        check(&mut others, &new_user(), &new_user(), None).await.expect("a check is answered");
    }
    over.store(true, Ordering::SeqCst);
    for list in lists {
        list.await.expect("lists are answered, or refused for one reason");
    }
    let failing = |sample: &tests::metrics::Sample| {
        sample.metric == "query_breaker_opened_total"
            && sample.labels.get("cause").is_some_and(|cause| cause == "failing")
    };
    let samples = scrape(own.pipeline.query.admin_addr());
    let opened: f64 = samples.into_iter().filter(failing).map(|sample| sample.value).sum();
    assert!(opened.abs() < 0.5, "our own queue opened {opened} breakers");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form, with nothing else on the machine: cargo xtask test --release -- --test it pressure -- --ignored"]
async fn honest_clients_meet_no_limit() {
    let own = Own::start().await;
    wait_answering(&own.endpoints.queries(), "projector-0").await;
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..WATCHERS {
        clients.spawn(watch(own.endpoints.queries(), over.clone()));
    }
    for _ in 0..CLIENTS {
        clients.spawn(follow_and_check(own.endpoints.commands(), own.endpoints.queries(), over.clone()));
    }
    let edges = tests::graph::random(5, 20_000, IMPORTED);
    let chunks = edges.chunks(1_000);
    let mut commands = own.endpoints.commands();
    for (number, edges) in (0..).zip(chunks) {
        let edges = edges.iter().map(|(source, target)| ImportEdge {
            source_id: source.clone(),
            target_id: target.clone(),
            ..ImportEdge::default()
        });
        let request = ImportEdgesRequest { chunk: number, edges: edges.collect(), ..Default::default() };
        let answer = tests::importing::chunk(&mut commands, request).await.expect("a chunk of the import");
        assert_eq!(answer.refused, []);
    }
    // External programs, during that load.
    super::external_clients::run_python_client(&own.endpoints).await;
    over.store(true, Ordering::SeqCst);
    let mut calls = 0;
    while let Some(client) = clients.join_next().await {
        calls += client.expect("no client is refused");
    }
    assert!(calls > 10_000, "{calls} calls");
    for admin in [own.pipeline.command.admin_addr(), own.pipeline.query.admin_addr()] {
        let refusals = scrape(admin).into_iter().filter(|sample| {
            let metric = sample.metric.as_str();
            // The Python client sends wrong tokens, too. Only the read model answers suggestions, and it lags during an
            // import; the client retries.
            let behind = sample.labels.get("reason").is_some_and(|reason| reason == "behind");
            metric != "auth_refused_total"
                && !behind
                && (metric.ends_with("_refused_total") || metric.ends_with("_refusals_total"))
                && sample.value > 0.0
        });
        assert_eq!(refusals.map(|sample| format!("{sample:?}")).collect::<Vec<_>>(), Vec::<String>::new());
    }
}

/// Follows and checks without a pause; returns the number of calls.
async fn follow_and_check(mut commands: Commands, mut queries: Queries, over: Arc<AtomicBool>) -> u64 {
    let mut calls = 0;
    while !over.load(Ordering::SeqCst) {
        let (actor, target) = (new_user(), new_user());
        let written = follow(&mut commands, &actor, &target).await.expect("a follow");
        let checked = check(&mut queries, &actor, &target, fresh(&written.written_at)).await;
        assert!(checked.expect("a check").following);
        calls += 2;
    }
    calls
}

/// Reads all events from now on; returns the number of messages.
async fn watch(mut queries: Queries, over: Arc<AtomicBool>) -> u64 {
    let mut messages =
        queries.watch_events(WatchEventsRequest::default()).await.expect("a watch").into_inner();
    let mut seen = 0;
    while !over.load(Ordering::SeqCst) {
        messages.message().await.expect("the watch continues").expect("a watch ends with a status only");
        seen += 1;
    }
    seen
}

fn counter() -> Arc<AtomicU64> {
    Arc::default()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form, with nothing else on the machine: cargo xtask test --release -- --test it pressure -- --ignored"]
async fn cold_starts_refuse_nobody() {
    let more = devstack::env_file::Env::default().with("FALLBACK_BUDGET_PER_SECOND", "250");
    let mut own = Own::start_with(more).await;
    wait_answering(&own.endpoints.queries(), "projector-0").await;
    for victims in [&[Victim::Query][..], &[Victim::Neo4j], &[Victim::Query, Victim::Neo4j]] {
        victims.iter().for_each(|victim| own.kill(*victim));
        victims.iter().for_each(|victim| own.revive(*victim));
        own.wait_ready();
        if victims.contains(&Victim::Neo4j) {
            // While its only read model is down, query-service stays ready and answers within the budget. A start waits
            // 30 s for the read model, which is not enough on every machine.
            until("Neo4j to serve again", || neo4j_serves(own.endpoints.queries())).await;
        }
        let clients = (0..CLIENTS).map(|number| {
            let queries = own.endpoints.queries();
            tokio::spawn(at_a_steady_pace(queries, number))
        });
        for client in futures::future::join_all(clients).await {
            let refused = client.expect("a client");
            assert_eq!(refused, Vec::new(), "after a restart of {victims:?}");
        }
    }
}

async fn neo4j_serves(mut queries: Queries) -> Result<(), String> {
    let status = queries.get_status(GetStatusRequest {}).await.map_err(|status| status.to_string())?;
    let serves = status.get_ref().stores.iter().any(|store| store.name == "neo4j" && store.serving);
    if serves { Ok(()) } else { Err(format!("{status:?}")) }
}

/// Sends checks, one per interval, and returns the rejections.
async fn at_a_steady_pace(mut queries: Queries, number: usize) -> Vec<Code> {
    let begin = Instant::now() + EVERY.mul_f64(number as f64 / CLIENTS as f64);
    let mut refused = Vec::new();
    for turn in 0..CHECKS {
        sleep_until(begin + EVERY * turn).await;
        if let Err(status) = check(&mut queries, &new_user(), &new_user(), None).await {
            refused.push(status.code());
        }
    }
    refused
}
