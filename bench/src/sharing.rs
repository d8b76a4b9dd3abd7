//! Reads with shared statements, against the same reads with one statement each.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use proto::query::v1::{BatchCheckRequest, GetCountsRequest, Source};
use tests::clients::{self, Queries};
use tests::truth;

use crate::load;
use crate::reads::pick;
use crate::report::Report;
use crate::setup::{Edge, Setup};

/// Numbers of concurrent clients: one shares no statements, many do.
const CLIENTS: [usize; 3] = [1, 16, 64];
const READS: [&str; 3] = ["Check", "BatchCheck of 20", "GetCounts of 1"];

/// Checks, batch checks and counts without and with sharing, on one set of servers. Without sharing is measured first
/// and last, so that a warmer JVM does not look like a gain.
pub async fn on_and_off(
    setup: &mut Setup,
    edges: &[Edge],
    time: Duration,
    report: &mut Report,
) -> Result<()> {
    const OFF: &str = "a statement each";
    let edges: Arc<[Edge]> = edges.into();
    for (lanes, how) in [("0", OFF), ("4", "shared"), ("0", "a statement each, again")] {
        setup.restart_query_with("COALESCING_LANES", lanes)?;
        truth::wait_answering(&setup.endpoints).await;
        for read in READS {
            for clients in CLIENTS {
                let edges = edges.clone();
                let outcome = load::closed(
                    clients,
                    time,
                    |_| setup.endpoints.queries(),
                    move |queries, round| one(read, queries, round, edges.clone()),
                )
                .await?;
                let base = format!("{read}, {OFF}");
                let base = (how != OFF).then_some(base.as_str());
                report.add(&format!("{read}, {how}"), clients, &outcome, base);
            }
        }
    }
    Ok(())
}

async fn one(read: &'static str, mut queries: Queries, round: u64, edges: Arc<[Edge]>) -> Result<()> {
    let (a, b) = pick(&edges, round, 0).clone();
    let source = match read {
        "Check" => clients::check(&mut queries, &a, &b, None).await?.source(),
        "BatchCheck of 20" => {
            let target_ids = (0..20).map(|step| pick(&edges, round, step).1.clone()).collect();
            let request = BatchCheckRequest { viewer_id: a, target_ids, ..Default::default() };
            queries.batch_check(request).await?.into_inner().source()
        }
        _ => {
            let request = GetCountsRequest { user_ids: vec![b], ..Default::default() };
            queries.get_counts(request).await?.into_inner().source()
        }
    };
    ensure!(source == Source::Neo4j, "{read} was answered by {source:?}");
    Ok(())
}
