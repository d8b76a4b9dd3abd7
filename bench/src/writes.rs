//! Imports and follows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{future::BoxFuture, stream};
use proto::command::v1::{ImportEdge, ImportEdgesRequest};
use tests::{Endpoints, clients, importing, truth};

use crate::load::CLIENTS;
use crate::report::Report;
use crate::setup::Edge;
use crate::{baseline, load};

/// Edges per chunk.
const CHUNK: usize = 1_000;

/// Imports all edges, and waits for the read model.
pub async fn import(endpoints: &Endpoints, edges: &[Edge], report: &mut Report) -> Result<()> {
    let requests: Vec<_> = edges
        .chunks(CHUNK)
        .zip(0..)
        .map(|(edges, chunk)| ImportEdgesRequest {
            chunk,
            edges: edges
                .iter()
                .map(|(a, b)| ImportEdge {
                    source_id: a.clone(),
                    target_id: b.clone(),
                    ..ImportEdge::default()
                })
                .collect(),
            ..Default::default()
        })
        .collect();
    let begun = Instant::now();
    let mut accepted = 0;
    let mut answers = endpoints.commands().import_edges(stream::iter(requests)).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        accepted += u64::from(answer.accepted);
    }
    ensure!(accepted == edges.len() as u64, "{accepted} of {} edges were accepted", edges.len());
    let per_second = |begun: Instant| accepted as f64 / begun.elapsed().as_secs_f64();
    report.add_edges("import, committed", per_second(begun));
    truth::wait_caught_up(endpoints).await;
    report.add_edges("import, visible in Neo4j", per_second(begun));
    Ok(())
}

/// Imports edges that a measurement needs.
pub async fn prepare(endpoints: &Endpoints, edges: &[Edge]) {
    importing::all(&mut endpoints.commands(), edges, CHUNK).await;
}

/// An account with many followers.
pub struct Star {
    pub id: String,
    pub followers: Vec<String>,
}

impl Star {
    /// Creates it with this number of followers.
    pub async fn create(endpoints: &Endpoints, followers: usize) -> Self {
        let id = tests::new_user();
        let followers: Vec<String> = (0..followers).map(|_| tests::new_user()).collect();
        let edges: Vec<Edge> = followers.iter().map(|follower| (follower.clone(), id.clone())).collect();
        prepare(endpoints, &edges).await;
        Self { id, followers }
    }
}

/// Connections of a busy backend, whatever its number of concurrent calls.
const SHARED_CONNECTIONS: usize = 8;

/// Follows on shared connections: of each round, a new account follows the account of the number `target` of the round.
pub fn shared(
    endpoints: &Endpoints,
    target: impl Fn(u64) -> u64 + Copy + Send + 'static,
) -> impl Fn(u64) -> BoxFuture<'static, Result<()>> + Clone + Send + 'static {
    let commands: Vec<_> = (0..SHARED_CONNECTIONS).map(|_| endpoints.commands()).collect();
    move |round| {
        let commands = commands[round as usize % SHARED_CONNECTIONS].clone();
        Box::pin(follow_of(commands, target(round)))
    }
}

/// Single follows against one transaction each: first with a connection per client, then with shared connections. The
/// projector runs, and its lag is printed.
pub async fn follows(endpoints: &Endpoints, time: Duration, report: &mut Report) -> Result<()> {
    const BASELINE: &str = "bare SQL: follow, one transaction each";
    let most = CLIENTS[CLIENTS.len() - 1];
    for count in CLIENTS {
        let outcome = baseline::follows(&endpoints.database_url, count, time).await?;
        report.add(BASELINE, count, &outcome, None);
    }
    for count in CLIENTS {
        let outcome = load::closed(count, time, |_| endpoints.commands(), follow).await.context("follows")?;
        report.add("Follow", count, &outcome, Some(BASELINE));
        if count == most {
            report.at_least("Follow a second, 64 clients", outcome.rate, 7_500.0);
        }
    }
    let shared: Vec<_> = (0..SHARED_CONNECTIONS).map(|_| endpoints.commands()).collect();
    let of_client = |client: usize| shared[client % SHARED_CONNECTIONS].clone();
    let outcome = load::closed(most, time, of_client, follow).await.context("follows")?;
    let name = format!("Follow, on {SHARED_CONNECTIONS} connections");
    report.add(&name, most, &outcome, Some(BASELINE));

    let begun = Instant::now();
    truth::wait_caught_up(endpoints).await;
    eprintln!("the read model was {:.1} s behind at the end of the follows", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The numbers of a thousand accounts in turn.
pub fn of_thousand(round: u64) -> u64 {
    round % 1_000 + 1
}

/// A new account follows one of a thousand accounts.
pub async fn follow(commands: clients::Commands, round: u64) -> Result<()> {
    follow_of(commands, of_thousand(round)).await
}

/// A new account follows the account of this number.
async fn follow_of(mut commands: clients::Commands, account: u64) -> Result<()> {
    let target = uuid::Uuid::from_u128(u128::from(account)).to_string();
    let answer = clients::follow(&mut commands, &tests::new_user(), &target).await?;
    ensure!(answer.changed, "a new account follows for the first time");
    Ok(())
}
