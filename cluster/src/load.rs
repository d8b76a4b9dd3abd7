//! Clients outside of the pods, at the addresses of the Services: each follows new accounts, and reads each follow back
//! with the token of the write.
//!
//! A client repeats a call, with the same `request_id`, until it is answered. Calls that were never sent and calls that
//! were interrupted are counted apart: a pod that ends in order interrupts none.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use proto::{
    command::v1::{FollowRequest, command_service_client::CommandServiceClient},
    query::v1::{Consistency, query_service_client::QueryServiceClient},
};
use tests::{
    Commands, Queries,
    clients::{Bearer, List, check, consistent, fresh, page, walk, was_never_sent},
    new_user,
};
use tokio::{runtime::Runtime, task::JoinSet};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::cluster::{Cluster, until};

/// Services that clients call.
pub const CALLED: [&str; 2] = ["command-service", "query-service"];

/// Each connection reaches a random pod: with this many, each of four pods gets some.
const CLIENTS: usize = 24;
/// Between two rounds of a client, so that two processors also have time for the cluster itself.
const PAUSE: Duration = Duration::from_millis(100);
/// Deadline of a call.
const DEADLINE: Duration = Duration::from_secs(10);
/// Interval and timeout of pings: they find a pod that neither answers nor closes its connections.
const PING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// How long a client repeats a call. Longer is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Number of calls that show that clients are being served.
const SOME: usize = 100;

/// Running clients.
#[derive(Debug)]
pub struct Load {
    leave: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinHandle<Result<Seen>>,
}

/// What clients have seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of each account, the accounts that it follows by acknowledged writes, in their order, and the last token.
    follows: BTreeMap<String, (Vec<String>, String)>,
    /// Follows without an answer when the clients had to leave.
    in_doubt: Vec<String>,
    reads: usize,
    never_sent: usize,
    /// When, and how.
    interrupted: Vec<(Instant, String)>,
    failed: Vec<String>,
    longest: Duration,
}

/// A client of both services.
struct Client {
    commands: Commands,
    queries: Queries,
}

impl Load {
    /// Starts clients and waits until they are served.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        // Connections and caches may be cold: these calls only have to be answered.
        Self::spawn(cluster)?.end_answered(cluster)?;
        Self::spawn(cluster)
    }

    fn spawn(cluster: &Cluster) -> Result<Self> {
        let (leave, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (command, query) = (cluster.address("command-service")?, cluster.address("query-service")?);
        let (node, token) = (cluster.node.clone(), cluster.token);
        let clients = thread::spawn({
            let (leave, answered) = (Arc::clone(&leave), Arc::clone(&answered));
            move || -> Result<Seen> {
                node.join_network()?;
                runtime()?.block_on(async {
                    let mut clients = JoinSet::new();
                    for _ in 0..CLIENTS {
                        let client = Client::new(&command, &query, token)?;
                        clients.spawn(client.follow_and_read(Arc::clone(&leave), Arc::clone(&answered)));
                    }
                    let mut seen = Seen::default();
                    while let Some(client) = clients.join_next().await {
                        seen.add(client.context("a client panicked")?);
                    }
                    anyhow::Ok(seen)
                })
            }
        });
        let load = Self { leave, answered, clients };
        load.wait_served()?;
        Ok(load)
    }

    /// Waits until clients have had answers to some more calls.
    pub fn wait_served(&self) -> Result<()> {
        let before = self.answered.load(Ordering::Relaxed);
        let served = || {
            let more = self.answered.load(Ordering::Relaxed) - before;
            ensure!(more >= SOME, "clients had {more} answers");
            Ok(())
        };
        until(PATIENCE, served).map(drop)
    }

    /// Ends all clients.
    pub fn end(self) -> Result<Seen> {
        self.leave.store(true, Ordering::SeqCst);
        self.clients.join().unwrap_or_else(|_| bail!("the clients panicked"))
    }

    /// Ends all clients. Every call must have been answered, and every acknowledged write must be there.
    pub fn end_answered(self, cluster: &Cluster) -> Result<Seen> {
        let seen = self.end()?;
        ensure!(seen.failed.is_empty(), "{}; first failures: {:#?}", seen.line(), some(&seen.failed));
        seen.verify(cluster)?;
        Ok(seen)
    }

    /// As `end_answered`; and no call may have been interrupted.
    pub fn end_unbroken(self, cluster: &Cluster) -> Result<Seen> {
        let ended = Instant::now();
        let seen = self.end_answered(cluster)?;
        let texts: Vec<_> = seen
            .interrupted
            .iter()
            .map(|(at, text)| {
                format!("{:.1} s before the end: {text}", ended.saturating_duration_since(*at).as_secs_f64())
            })
            .collect();
        ensure!(texts.is_empty(), "{}; first interruptions: {:#?}", seen.line(), some(&texts));
        Ok(seen)
    }
}

impl Client {
    fn new(command: &str, query: &str, token: &str) -> Result<Self> {
        let bearer = Bearer::new(token);
        Ok(Self {
            commands: CommandServiceClient::with_interceptor(channel(command)?, bearer.clone()),
            queries: QueryServiceClient::with_interceptor(channel(query)?, bearer),
        })
    }

    async fn follow_and_read(self, leave: Arc<AtomicBool>, answered: Arc<AtomicUsize>) -> Seen {
        let Self { commands, queries } = self;
        let mut seen = Seen::default();
        let actor = new_user();
        while !leave.load(Ordering::SeqCst) {
            let target = new_user();
            let request = FollowRequest {
                actor_id: actor.clone(),
                target_id: target.clone(),
                request_id: new_user(),
                ..FollowRequest::default()
            };
            let follow = || {
                let (mut commands, request) = (commands.clone(), request.clone());
                async move { commands.follow(request).await }
            };
            let Some(done) = seen.answer("Follow", &leave, follow).await else {
                seen.in_doubt.push(target);
                break;
            };
            let token = done.into_inner().written_at;
            let (follows, last) = seen.follows.entry(actor.clone()).or_default();
            follows.push(target.clone());
            last.clone_from(&token);

            let look = || {
                let (mut queries, token) = (queries.clone(), fresh(&token));
                let (actor, target) = (&actor, &target);
                async move { check(&mut queries, actor, target, token).await }
            };
            let Some(checked) = seen.answer("Check", &leave, look).await else {
                break;
            };
            let list = || {
                let (mut queries, token) = (queries.clone(), fresh(&token));
                let actor = &actor;
                async move { page(&mut queries, List::Following, actor, 1, "", token).await }
            };
            let Some(listed) = seen.answer("ListFollowing", &leave, list).await else {
                break;
            };
            seen.reads += 2;
            if !checked.following || listed.edges.first().is_none_or(|edge| edge.user_id != target) {
                seen.failed.push(format!("reads with the token of a write miss it: {checked:?}, {listed:?}"));
            }
            answered.fetch_add(3, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        seen
    }
}

impl Seen {
    /// The answer to a call, repeated if necessary. `None` if it failed, or was interrupted when clients must leave.
    async fn answer<T, F>(&mut self, name: &str, leave: &AtomicBool, mut call: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let begun = Instant::now();
        loop {
            let status = match call().await {
                Ok(answer) => {
                    self.longest = self.longest.max(begun.elapsed());
                    return Some(answer);
                }
                Err(status) if was_never_sent(&status) => {
                    self.never_sent += 1;
                    continue;
                }
                Err(status) => status,
            };
            let text = format!("{name} after {:.1} s: {}", begun.elapsed().as_secs_f64(), describe(&status));
            if begun.elapsed() > PATIENCE {
                self.failed.push(text);
                return None;
            }
            self.interrupted.push((Instant::now(), text));
            if leave.load(Ordering::SeqCst) {
                return None;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn add(&mut self, other: Self) {
        self.follows.extend(other.follows);
        self.in_doubt.extend(other.in_doubt);
        self.reads += other.reads;
        self.never_sent += other.never_sent;
        self.interrupted.extend(other.interrupted);
        self.failed.extend(other.failed);
        self.longest = self.longest.max(other.longest);
    }

    /// The counts.
    pub fn line(&self) -> String {
        format!(
            "{} writes acknowledged, {} reads; {} calls failed; {} were interrupted and {} never sent, all repeated; the \
             longest took {:.1} s",
            self.writes(),
            self.reads,
            self.failed.len(),
            self.interrupted.len(),
            self.never_sent,
            self.longest.as_secs_f64()
        )
    }

    /// When the last call was interrupted, in seconds after `begun`.
    pub fn recovered_after(&self, begun: Instant) -> f64 {
        let last = self.interrupted.iter().map(|(at, _)| *at).max();
        last.map_or(0.0, |at| at.saturating_duration_since(begun).as_secs_f64())
    }

    fn writes(&self) -> usize {
        self.follows.values().map(|(follows, _)| follows.len()).sum()
    }

    /// Reads every follow again, from PostgreSQL and from a read model: the acknowledged ones, and no others except those
    /// in doubt.
    pub fn verify(&self, cluster: &Cluster) -> Result<()> {
        ensure!(self.writes() > 0, "no write was acknowledged");
        let (command, query) = (cluster.address("command-service")?, cluster.address("query-service")?);
        cluster.node.in_network(|| {
            runtime()?.block_on(async {
                let mut queries = Client::new(&command, &query, cluster.token)?.queries;
                for (actor, (follows, token)) in &self.follows {
                    for consistency in [consistent(), fresh(token)] {
                        let mut found = listed(&mut queries, actor, consistency).await?;
                        found.reverse();
                        if found.last().is_some_and(|last| self.in_doubt.contains(last)) {
                            found.pop();
                        }
                        ensure!(
                            found == *follows,
                            "{actor} has {} follows, acknowledged were {}",
                            found.len(),
                            follows.len()
                        );
                    }
                }
                anyhow::Ok(())
            })
        })
    }
}

/// What an account follows, oldest last. Repeated if it is not answered: servers may have just started.
async fn listed(queries: &mut Queries, actor: &str, consistency: Option<Consistency>) -> Result<Vec<String>> {
    let begun = Instant::now();
    loop {
        match walk(queries, List::Following, actor, 1000, consistency.clone()).await {
            Err(_) if begun.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            answer => return answer.with_context(|| format!("cannot list what {actor} follows")),
        }
    }
}

/// A runtime whose sockets are all opened by this thread: it may be in the network of a node.
pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
}

/// As `tests::clients::channel`, for servers that may vanish.
fn channel(address: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .connect_timeout(PING.0)
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .keep_alive_while_idle(true)
        .timeout(DEADLINE)
        .connect_lazy())
}

/// A status with its causes.
fn describe(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The first ones of many.
fn some<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(5)]
}
