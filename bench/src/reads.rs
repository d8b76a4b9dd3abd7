//! Reads, each against the bare SQL for the same question.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proto::query::v1::{BatchCheckRequest, GetCountsRequest, Source};
use sqlx::PgPool;
use tests::clients::{List, Queries};
use tests::{Endpoints, clients};
use uuid::Uuid;

use crate::load::CLIENTS;
use crate::report::Report;
use crate::setup::Edge;
use crate::{baseline, load};

/// Every read at every number of clients.
pub async fn all(endpoints: &Endpoints, edges: &[Edge], time: Duration, report: &mut Report) -> Result<()> {
    let graph = Arc::new(Graph { edges: edges.to_vec(), star: most_followed(edges)? });
    let mut bench = Bench { endpoints, graph, time, report };
    for count in CLIENTS {
        bench.measure(count, "check", check_in_sql, "Check", check).await?;
        let name = "BatchCheck of 100";
        bench.measure(count, "batch check of 100", batch_check_in_sql, name, batch_check).await?;
        let name = "ListFollowers, page of 100 of the most followed";
        bench.measure(count, "page of 100 followers", followers_in_sql, name, followers).await?;
        bench.measure(count, "counts of 1", counts_in_sql, "GetCounts of 1", counts).await?;
    }
    Ok(())
}

fn most_followed(edges: &[Edge]) -> Result<String> {
    let mut followers: HashMap<&str, usize> = HashMap::new();
    for (_, target) in edges {
        *followers.entry(target).or_default() += 1;
    }
    let star = followers.into_iter().max_by_key(|(_, count)| *count).context("no edges")?.0;
    Ok(star.to_owned())
}

/// Spreads rounds over the edges.
pub fn pick(edges: &[Edge], round: u64, step: u64) -> &Edge {
    &edges[(round.wrapping_add(step).wrapping_mul(0x9E37_79B9_7F4A_7C15) % edges.len() as u64) as usize]
}

fn uuid(text: &str) -> Uuid {
    Uuid::parse_str(text).unwrap_or_default()
}

/// The imported edges, and the account that is followed most.
struct Graph {
    edges: Vec<Edge>,
    star: String,
}

impl Graph {
    fn edge(&self, round: u64) -> Edge {
        pick(&self.edges, round, 0).clone()
    }

    fn targets(&self, round: u64) -> Vec<String> {
        (0..100).map(|step| pick(&self.edges, round, step).1.clone()).collect()
    }
}

struct Bench<'a> {
    endpoints: &'a Endpoints,
    graph: Arc<Graph>,
    time: Duration,
    report: &'a mut Report,
}

impl Bench<'_> {
    async fn measure<S, F>(
        &mut self,
        clients: usize,
        question: &str,
        in_sql: fn(PgPool, Arc<Graph>, u64) -> S,
        name: &str,
        call: fn(Queries, Arc<Graph>, u64) -> F,
    ) -> Result<()>
    where
        S: Future<Output = Result<()>> + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let base = format!("bare SQL: {question}");
        let pool = baseline::pool(&self.endpoints.database_url, clients).await?;
        let graph = self.graph.clone();
        let in_sql = move |pool, round| in_sql(pool, graph.clone(), round);
        let outcome = load::closed(clients, self.time, |_| pool.clone(), in_sql).await?;
        self.report.add(&base, clients, &outcome, None);
        let graph = self.graph.clone();
        let call = move |queries, round| call(queries, graph.clone(), round);
        let outcome = load::closed(clients, self.time, |_| self.endpoints.queries(), call).await?;
        self.report.add(name, clients, &outcome, Some(&base));
        Ok(())
    }
}

/// With HOT_SET_BYTES, memory answers frequent reads in place of Neo4j.
fn is_no_fallback(source: Source) -> bool {
    matches!(source, Source::Neo4j | Source::Memory)
}

async fn check_in_sql(pool: PgPool, graph: Arc<Graph>, round: u64) -> Result<()> {
    let (a, b) = graph.edge(round);
    let _: Option<i32> =
        sqlx::query_scalar("SELECT 1 FROM follows WHERE follower_id = $1 AND following_id = $2")
            .bind(uuid(&a))
            .bind(uuid(&b))
            .fetch_optional(&pool)
            .await?;
    Ok(())
}

async fn check(mut queries: Queries, graph: Arc<Graph>, round: u64) -> Result<()> {
    let (a, b) = graph.edge(round);
    let answer = clients::check(&mut queries, &a, &b, None).await?;
    ensure!(answer.following && is_no_fallback(answer.source()), "{answer:?}");
    Ok(())
}

async fn batch_check_in_sql(pool: PgPool, graph: Arc<Graph>, round: u64) -> Result<()> {
    let ids: Vec<Uuid> = graph.targets(round).iter().map(|id| uuid(id)).collect();
    let _: Vec<Uuid> = sqlx::query_scalar(
        "SELECT following_id FROM follows WHERE follower_id = $1 AND following_id = ANY($2)",
    )
    .bind(uuid(&graph.edge(round).0))
    .bind(ids)
    .fetch_all(&pool)
    .await?;
    Ok(())
}

async fn batch_check(mut queries: Queries, graph: Arc<Graph>, round: u64) -> Result<()> {
    let (viewer_id, target_ids) = (graph.edge(round).0, graph.targets(round));
    let request = BatchCheckRequest { viewer_id, target_ids, ..Default::default() };
    let answer = queries.batch_check(request).await?.into_inner();
    ensure!(answer.results[0].following && is_no_fallback(answer.source()));
    Ok(())
}

async fn followers_in_sql(pool: PgPool, graph: Arc<Graph>, _: u64) -> Result<()> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "SELECT follower_id FROM follows WHERE following_id = $1 ORDER BY position DESC LIMIT 101",
    )
    .bind(uuid(&graph.star))
    .fetch_all(&pool)
    .await?;
    ensure!(rows.len() == 101);
    Ok(())
}

async fn followers(mut queries: Queries, graph: Arc<Graph>, _: u64) -> Result<()> {
    let page = clients::page(&mut queries, List::Followers, &graph.star, 100, "", None).await?;
    ensure!(page.edges.len() == 100 && is_no_fallback(page.source));
    Ok(())
}

async fn counts_in_sql(pool: PgPool, graph: Arc<Graph>, round: u64) -> Result<()> {
    let _: (i64, i64) = sqlx::query_as("SELECT followers, following FROM accounts WHERE user_id = $1")
        .bind(uuid(&graph.edge(round).1))
        .fetch_one(&pool)
        .await?;
    Ok(())
}

async fn counts(mut queries: Queries, graph: Arc<Graph>, round: u64) -> Result<()> {
    let request = GetCountsRequest { user_ids: vec![graph.edge(round).1], ..Default::default() };
    let answer = queries.get_counts(request).await?.into_inner();
    ensure!(answer.counts[0].followers > 0 && is_no_fallback(answer.source()));
    Ok(())
}
