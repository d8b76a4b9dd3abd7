//! Benchmarks: a fresh set of real servers, release builds of the services, figures
//! and their ratios from one run.
//!
//! Owns: the loads and their baselines. A figure alone says little on another
//! machine; the ratios against bare SQL of the same run say more.

mod baseline;
mod lag;
mod load;
mod reads;
mod report;
mod setup;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use report::Report;
use setup::Setup;

/// Measures imports, follows, lag and reads, each against bare SQL of the same run.
#[derive(Debug, Parser)]
struct Args {
    /// Edges to import: two ids a line, tab-separated, may be gzipped. Without it, a generated graph.
    #[arg(long)]
    edges: Option<PathBuf>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Writes the figures as JSON to this file, `-` for standard output.
    #[arg(long, default_value = "-")]
    json: PathBuf,
}

/// How many clients at a time.
const CLIENTS: [usize; 3] = [1, 8, 64];

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let edges = setup::edges(args.edges.as_deref())?;
    let setup = Setup::start()?;
    let endpoints = setup.endpoints.clone();
    let each = Duration::from_secs(args.seconds);
    let mut report = Report::default();

    writes::import(&endpoints, &edges, &mut report).await?;
    reads::all(&endpoints, &edges, each, &mut report).await?;
    writes::follows(&endpoints, each, &mut report).await?;
    tests::truth::wait_caught_up(&endpoints).await;
    lag::at_200_per_second(&endpoints, each * 3, &mut report).await?;

    eprintln!("{}", report.table());
    let json = report.json()?;
    if args.json.as_os_str() == "-" {
        println!("{json}");
    } else {
        std::fs::write(&args.json, json)?;
    }
    Ok(())
}
