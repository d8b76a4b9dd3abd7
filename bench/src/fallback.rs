//! Reads without Neo4j: PostgreSQL answers within the budget, and reads beyond the budget are refused fast.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;
use proto::error::{Reason, reason_of};
use tests::{clients, truth};

use crate::load;
use crate::report::Report;
use crate::setup::Setup;

/// Number of concurrent clients.
const CLIENTS: usize = 16;
/// Fallback reads per second.
const BUDGET: &str = "50";

/// Kills Neo4j under read load, and measures the latency of refused reads.
pub async fn without_neo4j(setup: &mut Setup, time: Duration, report: &mut Report) -> Result<()> {
    setup.restart_query_with("FALLBACK_BUDGET_PER_SECOND", BUDGET)?;
    let endpoints = setup.endpoints.clone();
    let (a, b) = (tests::new_user(), tests::new_user());
    clients::follow(&mut endpoints.commands(), &a, &b).await?;
    truth::wait_caught_up(&endpoints).await;
    truth::wait_answering(&endpoints).await;

    let refused = Arc::new(Mutex::new(load::histogram()));
    let all = load::closed(CLIENTS, time * 2, |_| endpoints.queries(), {
        let refused = Arc::clone(&refused);
        move |mut queries, _| {
            let (a, b, refused) = (a.clone(), b.clone(), Arc::clone(&refused));
            async move {
                let begun = Instant::now();
                match clients::check(&mut queries, &a, &b, None).await {
                    Ok(answer) => ensure!(answer.following, "no wrong answer"),
                    Err(status) => {
                        ensure!(reason_of(&status) == Some(Reason::FallbackBudgetExhausted), "{status:?}");
                        let mut refused = refused.lock();
                        refused.record(begun.elapsed().as_micros() as u64)?;
                    }
                }
                Ok(())
            }
        }
    });
    let killed = async {
        tokio::time::sleep(time / 2).await;
        setup.kill_neo4j()
    };
    let (all, killed) = tokio::join!(all, killed);
    killed?;
    let all = all?;
    report.add("Check, while Neo4j is killed", CLIENTS, &all, None);
    let refused = refused.lock();
    ensure!(refused.len() > 100, "only {} reads were refused", refused.len());
    let p50 = refused.value_at_quantile(0.5) as f64 / 1_000.0;
    report.at_most("refused reads: p50 in ms", p50, 5.0);
    drop(refused);
    setup.revive_neo4j().context("Neo4j does not start again")
}
