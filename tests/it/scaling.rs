//! Read pods are added and removed under load: no read fails, new pods get their share, and the CPU time of a read does
//! not depend on the number of pods.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use devstack::env_file::Env;
use devstack::services::{Program, Service};
use proto::query::v1::CheckRequest;
use proto::query::v1::query_service_client::QueryServiceClient;
use tests::balancer::Balancer;
use tests::clients::{Bearer, channel, follow, was_never_sent};
use tests::metrics::calls_answered;
use tests::{Own, Queries, new_user, until};
use tokio::task::{JoinSet, block_in_place};

/// Enough to keep this machine busy with any number of pods: an idle CPU wakes up for each message, a busy one finds
/// several.
const CLIENTS: usize = 24;
/// Window of a measurement. CPU time is counted in hundredths of a second, so this is exact to a few percent.
const MEASURED: Duration = Duration::from_secs(3);
/// Number of calls that show that a pod gets its share.
const SOME: f64 = 100.0;
/// Number of calls after which Neo4j's compiler is done: a pod that waits for it wakes up more often per call.
const WARM: f64 = 20_000.0;
/// Tolerated relative difference of the calls per CPU second. The promise is 20 %, which holds on an idle machine;
/// other tests run concurrently, so only large differences fail here.
const TOLERANCE: f64 = 0.5;

/// Clients that read in a loop, over connections to the balancer, until `leave` is set.
struct Load {
    address: String,
    token: String,
    pair: (String, String),
    leave: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<Result<(), tonic::Status>>,
}

impl Load {
    fn add_clients(&mut self, count: usize) {
        for _ in 0..count {
            let queries =
                QueryServiceClient::with_interceptor(channel(&self.address), Bearer::new(&self.token));
            let (leave, answered) = (Arc::clone(&self.leave), Arc::clone(&self.answered));
            self.clients.spawn(ask(queries, self.pair.clone(), leave, answered));
        }
    }

    /// Ends all clients; a failed read is an error.
    async fn end(mut self) {
        self.leave.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic").expect("no read fails");
        }
        println!("{} reads, none failed", self.answered.load(Ordering::Relaxed));
    }
}

async fn ask(
    mut queries: Queries,
    (viewer_id, target_id): (String, String),
    leave: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Result<(), tonic::Status> {
    while !leave.load(Ordering::SeqCst) {
        let request = CheckRequest {
            viewer_id: viewer_id.clone(),
            target_id: target_id.clone(),
            ..CheckRequest::default()
        };
        match queries.check(request).await {
            Ok(answer) => {
                assert!(answer.into_inner().following, "every pod answers correctly");
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) if was_never_sent(&status) => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

/// A pod, as seen by an operator.
#[derive(Clone, Copy)]
struct Pod {
    pid: u32,
    admin: SocketAddr,
}

impl Pod {
    fn of(service: &Service) -> Self {
        Self { pid: service.pid().expect("it runs"), admin: service.admin_addr() }
    }

    /// Number of answered calls.
    fn calls(self) -> f64 {
        block_in_place(|| calls_answered(self.admin))
    }

    /// CPU time used, in hundredths of a second; the exported metric is in whole seconds.
    fn ticks(self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it runs");
        // After the name, which may contain anything: the 12th and 13th are user and system time (proc(5)).
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let fields = fields.split_whitespace().skip(11).take(2);
        fields.map(|field| field.parse::<u64>().expect("a number")).sum()
    }
}

/// Calls per CPU second of these pods under the current load.
async fn calls_a_processor_second(pods: &[Pod]) -> f64 {
    let used = || {
        pods.iter().fold((0.0, 0.0), |(seconds, calls), pod| {
            (seconds + pod.ticks() as f64 / 100.0, calls + pod.calls())
        })
    };
    let before = used();
    tokio::time::sleep(MEASURED).await;
    let after = used();
    let (seconds, calls) = (after.0 - before.0, after.1 - before.1);
    println!("{} pods: {calls} calls in {seconds:.2} processor seconds", pods.len());
    calls / seconds
}

/// Waits until a pod has answered this many more calls.
async fn wait_for_calls(pod: Pod, wanted: f64) {
    let before = pod.calls();
    until("traffic at a pod", || async move {
        let calls = pod.calls() - before;
        if calls > wanted { Ok(()) } else { Err(format!("{calls} calls")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_pods_come_and_go_under_load() {
    // Connections are short-lived, so that clients find new pods within the test. Each read has its own statement:
    // shared ones cost less the more of them coincide, which would hide what is measured here.
    let settings = Env::default().with("MAX_CONNECTION_AGE_SECONDS", "2").with("COALESCING_LANES", "0");
    let own = Own::start_with(settings).await;
    let (a, b) = (new_user(), new_user());
    follow(&mut own.endpoints.commands(), &a, &b).await.expect("a follow");
    tests::truth::wait_caught_up(&own.endpoints).await;
    tests::truth::wait_answering(&own.endpoints).await;

    let first = &own.pipeline.query;
    let first_pod = Pod::of(first);
    let balancer = Balancer::start().await;
    balancer.add(first);
    let mut load = Load {
        address: balancer.address(),
        token: own.endpoints.token.clone(),
        pair: (a, b),
        leave: Arc::default(),
        answered: Arc::default(),
        clients: JoinSet::new(),
    };
    load.add_clients(CLIENTS);
    wait_for_calls(first_pod, WARM).await;

    let mut rates = Vec::new();
    let mut pods = vec![first_pod];
    let mut added = Vec::new();
    for _ in 0..2 {
        let pod = block_in_place(|| own.another(Program::Query));
        balancer.add(&pod);
        wait_for_calls(Pod::of(&pod), SOME).await;
        pods.push(Pod::of(&pod));
        added.push(pod);
        rates.push(calls_a_processor_second(&pods).await);
    }
    // All clients continue meanwhile.
    for pod in &mut added {
        balancer.drain(pod).await;
    }
    wait_for_calls(first_pod, SOME).await;
    // Last, when all caches are warm.
    let alone = calls_a_processor_second(&[first_pod]).await;
    load.end().await;

    for rate in rates {
        let ratio = rate / alone;
        println!("{ratio:.2} times as many calls a processor second as one pod alone");
        assert!(
            (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio),
            "{ratio:.2} times as many as one alone"
        );
    }
}
