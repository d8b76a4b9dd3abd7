//! Accounts of very different sizes: latency of reads, and memory of jobs on the largest account.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use proto::command::v1::{ArchiveAccountRequest, RestoreAccountRequest};
use proto::query::v1::{
    BatchCheckRequest, GetCountsRequest, GetRelationshipsRequest, ListFollowersRequest, Source,
};
use tests::clients::{List, Queries};
use tests::{Endpoints, clients, truth};

use crate::report::Report;
use crate::setup::Setup;
use crate::writes::Star;
use crate::{erase, load};

const PAGE: i32 = 100;

/// Reads accounts with increasing numbers of followers, up to `largest`, then runs jobs on the largest.
pub async fn all(setup: &Setup, largest: usize, time: Duration, report: &mut Report) -> Result<()> {
    let endpoints = &setup.endpoints;
    let mut stars = Vec::new();
    for size in [1_000, largest / 10, largest] {
        stars.push(Star::create(endpoints, size).await);
    }
    truth::wait_caught_up(endpoints).await;
    truth::wait_answering(endpoints).await;
    for star in &stars {
        reads(endpoints, star, time, report).await?;
    }
    let smallest = &stars[0];
    for star in &stars[1..] {
        for read in READS {
            let ratio = report.compare_medians(&name(read, star), &name(read, smallest), 1);
            let ratio = ratio.context("both were measured")?;
            let sizes = (star.followers.len(), smallest.followers.len());
            let what = format!("{read}: p50 with {} followers, times that with {}", sizes.0, sizes.1);
            report.at_most(&what, ratio, 1.5);
        }
    }
    jobs(setup, &stars[2], report).await
}

/// Reads that must be as fast for the largest account as for the smallest.
const READS: [&str; 7] = [
    "Check",
    "BatchCheck of 100",
    "GetRelationships of 100",
    "first page of 100",
    "page of 100 in the middle",
    "first page of 100 for a viewer",
    "GetCounts of 1",
];

fn name(read: &str, star: &Star) -> String {
    format!("{read}, {} followers", star.followers.len())
}

async fn reads(endpoints: &Endpoints, star: &Star, time: Duration, report: &mut Report) -> Result<()> {
    let middle = token_in_the_middle(endpoints, star).await?;
    for read in READS {
        let (star_id, middle) = (star.id.clone(), middle.clone());
        // A different hundred each time.
        let followers = star.followers.clone();
        let outcome = load::closed(
            1,
            time,
            |_| endpoints.queries(),
            move |queries, round| {
                let from = (round as usize).wrapping_mul(7_919) % (followers.len() - PAGE as usize);
                let some = followers[from..from + PAGE as usize].to_vec();
                one(read, queries, star_id.clone(), some, middle.clone())
            },
        )
        .await?;
        report.add(&name(read, star), 1, &outcome, None);
    }
    Ok(())
}

/// Page token after half of the followers.
async fn token_in_the_middle(endpoints: &Endpoints, star: &Star) -> Result<String> {
    let mut queries = endpoints.queries();
    let (mut token, mut seen) = (String::new(), 0);
    // Half of a small list; deep enough in a large one.
    while seen < star.followers.len().min(20_000) / 2 {
        let page = clients::page(&mut queries, List::Followers, &star.id, PAGE, &token, None).await?;
        seen += page.edges.len();
        token = page.next;
    }
    Ok(token)
}

async fn one(
    read: &'static str,
    mut queries: Queries,
    star: String,
    some: Vec<String>,
    middle: String,
) -> Result<()> {
    let source = match read {
        "Check" => clients::check(&mut queries, &some[0], &star, None).await?.source(),
        "BatchCheck of 100" => {
            let request = BatchCheckRequest { viewer_id: star, target_ids: some, ..Default::default() };
            queries.batch_check(request).await?.into_inner().source()
        }
        "GetRelationships of 100" => {
            let request = GetRelationshipsRequest { viewer_id: star, target_ids: some, ..Default::default() };
            queries.get_relationships(request).await?.into_inner().source()
        }
        "GetCounts of 1" => {
            let request = GetCountsRequest { user_ids: vec![star], ..Default::default() };
            queries.get_counts(request).await?.into_inner().source()
        }
        "first page of 100 for a viewer" => {
            let request = ListFollowersRequest {
                user_id: star,
                page_size: PAGE,
                viewer_id: some[0].clone(),
                with_relationships: true,
                ..Default::default()
            };
            let page = queries.list_followers(request).await?.into_inner();
            ensure!(page.edges.len() == PAGE as usize, "a short page");
            page.source()
        }
        _ => {
            let token = if read == "first page of 100" { "" } else { &middle };
            let page = clients::page(&mut queries, List::Followers, &star, PAGE, token, None).await?;
            ensure!(page.edges.len() == PAGE as usize, "a short page");
            page.source
        }
    };
    ensure!(source == Source::Neo4j, "{read} was answered by {source:?}");
    Ok(())
}

/// Archives, restores and erases the account, and reports the memory of command-service after each.
async fn jobs(setup: &Setup, star: &Star, report: &mut Report) -> Result<()> {
    let endpoints = &setup.endpoints;
    let size = star.followers.len();
    eprintln!("command-service had {:.0} MiB resident at most before the jobs", setup.command_peak_mib()?);
    for job in ["archive", "restore", "erase"] {
        let begun = Instant::now();
        let mut commands = endpoints.commands();
        let user_id = star.id.clone();
        match job {
            "archive" => {
                let request = ArchiveAccountRequest { user_id, ..Default::default() };
                let job_id = commands.archive_account(request).await?.into_inner().job_id;
                erase::done(endpoints, &job_id).await?;
            }
            "restore" => {
                let request = RestoreAccountRequest { user_id, ..Default::default() };
                let job_id = commands.restore_account(request).await?.into_inner().job_id;
                erase::done(endpoints, &job_id).await?;
            }
            _ => erase::erased(endpoints, &user_id).await?,
        }
        let per_second = size as f64 / begun.elapsed().as_secs_f64();
        report.add_edges(&format!("{job} of {size} followers"), per_second);
        let what = format!("{job} of {size} followers: most MiB resident in command-service");
        report.at_most(&what, setup.command_peak_mib()?, 256.0);
    }
    truth::wait_caught_up(endpoints).await;
    Ok(())
}
