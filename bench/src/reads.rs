//! Reads, each against the bare SQL for the same question.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proto::query::v1::{BatchCheckRequest, GetCountsRequest, Source};
use tests::clients::{List, Queries};
use tests::{Endpoints, clients};
use uuid::Uuid;

use crate::load::CLIENTS;
use crate::report::Report;
use crate::setup::Edge;
use crate::{baseline, load};

/// Every read at every number of clients.
pub async fn all(endpoints: &Endpoints, edges: &[Edge], time: Duration, report: &mut Report) -> Result<()> {
    let edges: Arc<[Edge]> = edges.into();
    let star = most_followed(&edges)?;
    let bench = Bench { endpoints, time };
    for count in CLIENTS {
        bench.check(count, &edges, report).await?;
        bench.batch_check(count, &edges, report).await?;
        bench.followers(count, &star, report).await?;
        bench.counts(count, &edges, report).await?;
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

struct Bench<'a> {
    endpoints: &'a Endpoints,
    time: Duration,
}

impl Bench<'_> {
    async fn measure<F>(
        &self,
        name: &str,
        clients: usize,
        base: &str,
        report: &mut Report,
        call: impl Fn(Queries, u64) -> F + Clone + Send + 'static,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send,
    {
        let outcome = load::closed(clients, self.time, |_| self.endpoints.queries(), call).await?;
        report.add(name, clients, outcome.rate, Some(&outcome.latencies), Some(base));
        Ok(())
    }

    async fn check(&self, clients: usize, edges: &Arc<[Edge]>, report: &mut Report) -> Result<()> {
        const BASE: &str = "bare SQL: check";
        let sql_edges = edges.clone();
        let outcome = baseline::read(&self.endpoints.database_url, clients, self.time, move |pool, round| {
            let (a, b) = pick(&sql_edges, round, 0).clone();
            async move {
                let _: Option<i32> =
                    sqlx::query_scalar("SELECT 1 FROM follows WHERE follower_id = $1 AND following_id = $2")
                        .bind(uuid(&a))
                        .bind(uuid(&b))
                        .fetch_optional(&pool)
                        .await?;
                Ok(())
            }
        })
        .await?;
        report.add(BASE, clients, outcome.rate, Some(&outcome.latencies), None);
        let edges = edges.clone();
        self.measure("Check", clients, BASE, report, move |mut queries, round| {
            let (a, b) = pick(&edges, round, 0).clone();
            async move {
                let answer = clients::check(&mut queries, &a, &b, None).await?;
                ensure!(answer.following && answer.source() == Source::Neo4j, "{answer:?}");
                Ok(())
            }
        })
        .await
    }

    async fn batch_check(&self, clients: usize, edges: &Arc<[Edge]>, report: &mut Report) -> Result<()> {
        const BASE: &str = "bare SQL: batch check of 100";
        let targets = |edges: &[Edge], round: u64| -> Vec<String> {
            (0..100).map(|step| pick(edges, round, step).1.clone()).collect()
        };
        let sql_edges = edges.clone();
        let outcome = baseline::read(&self.endpoints.database_url, clients, self.time, move |pool, round| {
            let viewer = uuid(&pick(&sql_edges, round, 0).0);
            let ids: Vec<Uuid> = targets(&sql_edges, round).iter().map(|id| uuid(id)).collect();
            async move {
                let _: Vec<Uuid> = sqlx::query_scalar(
                    "SELECT following_id FROM follows WHERE follower_id = $1 AND following_id = ANY($2)",
                )
                .bind(viewer)
                .bind(ids)
                .fetch_all(&pool)
                .await?;
                Ok(())
            }
        })
        .await?;
        report.add(BASE, clients, outcome.rate, Some(&outcome.latencies), None);
        let edges = edges.clone();
        self.measure("BatchCheck of 100", clients, BASE, report, move |mut queries, round| {
            let viewer_id = pick(&edges, round, 0).0.clone();
            let target_ids = targets(&edges, round);
            async move {
                let request = BatchCheckRequest { viewer_id, target_ids, ..Default::default() };
                let answer = queries.batch_check(request).await?.into_inner();
                ensure!(answer.results[0].following && answer.source() == Source::Neo4j);
                Ok(())
            }
        })
        .await
    }

    async fn followers(&self, clients: usize, star: &str, report: &mut Report) -> Result<()> {
        const BASE: &str = "bare SQL: page of 100 followers";
        let id = uuid(star);
        let outcome =
            baseline::read(&self.endpoints.database_url, clients, self.time, move |pool, _| async move {
                let rows: Vec<Uuid> = sqlx::query_scalar(
                "SELECT follower_id FROM follows WHERE following_id = $1 ORDER BY position DESC LIMIT 101",
            )
            .bind(id)
            .fetch_all(&pool)
            .await?;
                ensure!(rows.len() == 101);
                Ok(())
            })
            .await?;
        report.add(BASE, clients, outcome.rate, Some(&outcome.latencies), None);
        let star = star.to_owned();
        let name = "ListFollowers, page of 100 of the most followed";
        self.measure(name, clients, BASE, report, move |mut queries, _| {
            let star = star.clone();
            async move {
                let page = clients::page(&mut queries, List::Followers, &star, 100, "", None).await?;
                ensure!(page.edges.len() == 100 && page.source == Source::Neo4j);
                Ok(())
            }
        })
        .await
    }

    async fn counts(&self, clients: usize, edges: &Arc<[Edge]>, report: &mut Report) -> Result<()> {
        const BASE: &str = "bare SQL: counts of 1";
        let sql_edges = edges.clone();
        let outcome = baseline::read(&self.endpoints.database_url, clients, self.time, move |pool, round| {
            let id = uuid(&pick(&sql_edges, round, 0).1);
            async move {
                let _: (i64, i64) =
                    sqlx::query_as("SELECT followers, following FROM accounts WHERE user_id = $1")
                        .bind(id)
                        .fetch_one(&pool)
                        .await?;
                Ok(())
            }
        })
        .await?;
        report.add(BASE, clients, outcome.rate, Some(&outcome.latencies), None);
        let edges = edges.clone();
        self.measure("GetCounts of 1", clients, BASE, report, move |mut queries, round| {
            let user_ids = vec![pick(&edges, round, 0).1.clone()];
            async move {
                let answer = queries
                    .get_counts(GetCountsRequest { user_ids, ..Default::default() })
                    .await?
                    .into_inner();
                ensure!(answer.counts[0].followers > 0 && answer.source() == Source::Neo4j);
                Ok(())
            }
        })
        .await
    }
}
