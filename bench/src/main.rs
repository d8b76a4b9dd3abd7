//! Benchmarks: a fresh set of real servers, release builds of the services, figures
//! and their ratios from one run.
//!
//! Owns: the loads and their baselines. A figure alone says little on another
//! machine; the ratios against bare SQL of the same run say more.

mod against;
mod baseline;
mod erase;
mod fallback;
mod hops;
mod lag;
mod large;
mod load;
mod reads;
mod report;
mod setup;
mod sharing;
mod snapshot;
mod writes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use report::Report;
use setup::Setup;

/// Measures imports, follows, lag, jobs and reads, each against bare SQL of the same run.
#[derive(Debug, Parser)]
struct Args {
    /// Edges to import: two ids a line, tab-separated, may be gzipped. Without it, a generated graph.
    #[arg(long)]
    edges: Option<PathBuf>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Followers of the account that is erased, and length of the list that is replaced.
    #[arg(long, default_value_t = 100_000)]
    followers: usize,
    /// How many followers the largest account of `large` has.
    #[arg(long, default_value_t = 1_000_000)]
    largest: usize,
    /// Seconds for which `snapshot` holds one open.
    #[arg(long, default_value_t = 300)]
    hold: u64,
    /// A setting of the services other than its default, for finding better defaults; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    setting: Vec<(String, String)>,
    /// What to measure; all of it without this.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Compares the programs of this tree with those of a folder (release builds of the three services and `followgraph`).
    #[arg(long, value_name = "FOLDER")]
    against: Option<PathBuf>,
    /// How often each set of programs is measured with --against.
    #[arg(long, default_value_t = 3, requires = "against")]
    rounds: usize,
    /// Writes the figures as JSON to this file, `-` for standard output.
    #[arg(long, default_value = "-")]
    json: PathBuf,
}

/// A part of the benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The import; reads and sharing need it.
    Import,
    /// Reads.
    Reads,
    /// Single follows.
    Follows,
    /// Lag at 200 follows a second.
    Lag,
    /// Follows beside the replacement of a long list, and beside the erase of a large account.
    Erase,
    /// Follows beside a snapshot of PostgreSQL that is held open.
    Snapshot,
    /// Checks and counts that share statements, against the same with a statement each.
    Sharing,
    /// Reads while Neo4j is gone.
    Fallback,
    /// Reads over more than one hop of ever larger accounts.
    Hops,
    /// Reads of ever larger accounts, and the memory of jobs on the largest.
    Large,
}

/// How many clients at a time.
const CLIENTS: [usize; 3] = [1, 8, 64];

fn setting(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let edges = setup::edges(args.edges.as_deref())?;
    let binaries = setup::build()?;
    let (table, json, missed) = match &args.against {
        Some(other) => {
            let comparison = against::compare(&args, &edges, &binaries, other).await?;
            (comparison.table(), comparison.json()?, Vec::new())
        }
        None => {
            let report = measure(&args, &edges, &binaries).await?;
            let missed = report.missed().iter().map(|mark| mark.name.clone()).collect();
            (report.table(), report.json()?, missed)
        }
    };
    eprintln!("{table}");
    if args.json.as_os_str() == "-" {
        println!("{json}");
    } else {
        std::fs::write(&args.json, json)?;
    }
    ensure!(missed.is_empty(), "promises that were not kept: {}", missed.join("; "));
    Ok(())
}

/// Measures the programs of a folder on a fresh set of servers.
async fn measure(args: &Args, edges: &[setup::Edge], binaries: &Path) -> Result<Report> {
    let mut setup = Setup::start(binaries, &args.setting)?;
    let endpoints = setup.endpoints.clone();
    let each = Duration::from_secs(args.seconds);
    let mut report = Report::default();

    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if wanted(Part::Import) || wanted(Part::Reads) || wanted(Part::Sharing) {
        writes::import(&endpoints, edges, &mut report).await?;
    }
    if wanted(Part::Reads) {
        reads::all(&endpoints, edges, each, &mut report).await?;
    }
    if wanted(Part::Follows) {
        writes::follows(&endpoints, each, &mut report).await?;
    }
    if wanted(Part::Lag) {
        lag::at_200_per_second(&endpoints, each * 3, &mut report).await?;
    }

    if wanted(Part::Erase) {
        erase::beside(&endpoints, args.followers, each, &mut report).await?;
    }
    if wanted(Part::Snapshot) {
        snapshot::held(&endpoints, Duration::from_secs(args.hold), each * 5, &mut report).await?;
    }
    if wanted(Part::Hops) {
        hops::all(&endpoints, each, &mut report).await?;
    }
    if wanted(Part::Large) {
        large::all(&setup, args.largest, each, &mut report).await?;
    }
    if wanted(Part::Sharing) {
        sharing::on_and_off(&mut setup, edges, each, &mut report).await?;
    }
    if wanted(Part::Fallback) {
        fallback::without_neo4j(&mut setup, each, &mut report).await?;
    }
    Ok(report)
}
