//! Each alert fires at a real fault (`faults`).
//!
//! Prometheus scrapes the processes and evaluates the rules of k8s/monitoring/alerts.yaml with shorter waiting times.
//! promtool tests that each alert is silent before, and how long it waits.

use std::collections::BTreeSet;
use std::time::Instant;

use devstack::env_file::Env;
use devstack::monitoring;
use devstack::prometheus::Prometheus;
use tests::proxy::CommitLoser;
use tests::{Own, until};
use tokio::task::block_in_place;

use super::faults;

/// They concern speed, which a busy machine lacks, or a moment, because the waiting times are short here.
const OF_SPEED: [&str; 3] =
    ["FollowgraphNeo4jSlow", "FollowgraphCommitSlow", "FollowgraphStreamBehindOutbox"];

/// Conditions that do not fit into a test: two weeks, a quarter of an hour, a full queue of commands, an account that
/// Neo4j cannot search. Other tests produce the remaining faults without Prometheus: `jobs::failing`, `pressure`, and
/// for connections the test `limits` of service-kit. k8s/monitoring/alerts_test.yaml has all of them.
const NOT_PRODUCED: [&str; 8] = [
    "FollowgraphCountsNotCompared",
    "FollowgraphSweepSkipsAccounts",
    "FollowgraphCommandsTimeOut",
    "FollowgraphJobFailed",
    "FollowgraphReadModelBusy",
    "FollowgraphConnectionsRefused",
    "FollowgraphCommandsRefused",
    "FollowgraphPartitionsNotLookedAt",
];

/// Alerts that fire when servers are killed.
const OF_KILLED_SERVERS: [&str; 10] = [
    "FollowgraphStoreAway",
    "FollowgraphReadsFallBack",
    "FollowgraphBudgetRefusals",
    "FollowgraphProjectionFails",
    "FollowgraphNatsAway",
    "FollowgraphRelayStartsOver",
    "FollowgraphNotReady",
    "FollowgraphWritesFail",
    "FollowgraphReadsFail",
    "FollowgraphPoolExhausted",
];

/// Alerts that fire when PostgreSQL returns without its last commits. All others fire at faults that leave the three
/// servers up.
const OF_LOST_COMMITS: [&str; 3] =
    ["FollowgraphHistoryForked", "FollowgraphProjectionReset", "FollowgraphReplicaIncomplete"];

/// Prometheus, with the queries of the faults.
pub(super) struct Watch {
    prometheus: Prometheus,
    /// Earlier alerts do not count: before the first scrape everything seems to be down.
    since: Instant,
}

impl Watch {
    /// Starts when all processes are scraped and no alert fires.
    async fn begin(prometheus: Prometheus) -> Self {
        let watch = Self { prometheus, since: Instant::now() };
        watch.until_some("sum(up) == 3").await;
        watch.until_some("query_reads_total").await;
        watch.until_some("absent(ALERTS{alertstate=\"firing\"})").await;
        Self { since: Instant::now(), ..watch }
    }

    /// Every alert that has fired since the start.
    pub(super) fn fired(&self) -> BTreeSet<String> {
        let window = self.since.elapsed().as_millis().max(1);
        let query =
            format!("count by (alertname) (count_over_time(ALERTS{{alertstate=\"firing\"}}[{window}ms]))");
        let series = block_in_place(|| self.prometheus.query(&query)).expect("Prometheus answers");
        series.into_iter().filter_map(|(mut labels, _)| labels.remove("alertname")).collect()
    }

    /// Waits until all of these have fired.
    pub(super) async fn until_fired(&self, alerts: &[&str]) {
        let began = Instant::now();
        until(&format!("{alerts:?} to fire"), || async {
            let fired = self.fired();
            if alerts.iter().all(|alert| fired.contains(*alert)) { Ok(()) } else { Err(format!("{fired:?}")) }
        })
        .await;
        println!("{alerts:?} after {:.1} s", began.elapsed().as_secs_f64());
    }

    /// Waits until a query has a result.
    pub(super) async fn until_some(&self, query: &str) {
        until(query, || async {
            let series = block_in_place(|| self.prometheus.query(query)).expect("Prometheus answers");
            if series.is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
        })
        .await;
    }
}

/// A healthy set of servers and services, with Prometheus.
async fn begin() -> (Own, CommitLoser, Watch) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Handle::current();
    let own = Own::light()
        .start_through(move |servers| {
            let proxy = runtime.block_on(CommitLoser::before(&mut servers.postgres));
            sender.send(proxy).expect("the test waits");
            Env::default()
                .with("FALLBACK_BUDGET_PER_SECOND", "20")
                .with("HOT_SET_BYTES", "1000000")
                .with("MAX_CALLS_IN_FLIGHT", faults::CALLS_IN_FLIGHT.to_string())
        })
        .await;
    let proxy = receiver.recv().expect("a proxy");
    faults::warm_up(&own).await;
    let prometheus = block_in_place(|| {
        let targets = [
            ("command-service", own.pipeline.command.admin_addr()),
            ("query-service", own.pipeline.query.admin_addr()),
            ("projector", own.pipeline.projector.admin_addr()),
        ];
        let rules = monitoring::rules_without_patience().expect("rules");
        Prometheus::start(&own.servers.root().join("prometheus"), &targets, &rules)
            .expect("Prometheus starts")
    });
    let watch = Watch::begin(prometheus).await;
    faults::none(&own, &watch).await;
    (own, proxy, watch)
}

/// The alerts that should have fired and have not.
fn never(watch: &Watch, expected: impl Fn(&str) -> bool) -> Vec<String> {
    let fired = watch.fired();
    let all = monitoring::alerts().expect("rules").into_iter().map(|alert| alert.name);
    all.filter(|alert| expected(alert) && !fired.contains(alert)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_fires_when_the_real_thing_breaks_and_none_before() {
    let (mut own, proxy, watch) = begin().await;
    let early: Vec<_> =
        watch.fired().into_iter().filter(|alert| !OF_SPEED.contains(&alert.as_str())).collect();
    assert!(early.is_empty(), "nothing is broken yet: {early:?}");

    faults::calls_are_left_open(&own, &watch).await;
    faults::the_head_is_locked(&own, &watch).await;
    faults::replies_to_commits_are_lost(&own, &proxy, &watch).await;
    faults::data_is_changed_by_hand(&own, &watch).await;
    faults::memory_is_loaded_from_a_damaged_read_model(&mut own, &watch).await;
    faults::neo4j_falters(&mut own, &watch).await;
    faults::the_worker_is_stopped(&own, &watch).await;
    faults::the_relay_and_the_projector_are_stopped(&mut own, &watch).await;
    faults::services_are_killed(&mut own, &watch).await;
    faults::partitions_cannot_be_made(&mut own, &watch).await;
    faults::the_clock_jumps(&mut own, &watch).await;

    let elsewhere = [&NOT_PRODUCED[..], &OF_KILLED_SERVERS, &OF_LOST_COMMITS].concat();
    let never = never(&watch, |alert| !elsewhere.contains(&alert));
    assert!(never.is_empty(), "no test breaks what they watch: {never:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_of_killed_servers_fires() {
    let (mut own, _proxy, watch) = begin().await;
    faults::servers_are_killed(&mut own, &watch).await;
    let never = never(&watch, |alert| OF_KILLED_SERVERS.contains(&alert));
    assert!(never.is_empty(), "{never:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_of_lost_commits_fires() {
    let (mut own, _proxy, watch) = begin().await;
    faults::commits_are_lost(&mut own, &watch).await;
    let never = never(&watch, |alert| OF_LOST_COMMITS.contains(&alert));
    assert!(never.is_empty(), "{never:?}");
}
