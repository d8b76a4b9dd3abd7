//! Benchmarks: real servers, release builds of the services, figures and their ratios from one run.
//!
//! A figure means little on another machine; its ratio to bare SQL in the same run means more.

mod against;
mod args;
mod baseline;
mod erase;
mod fallback;
mod hops;
mod lag;
mod large;
mod load;
mod measure;
mod reads;
mod report;
mod setup;
mod sharing;
mod snapshot;
mod writes;

use anyhow::{Result, ensure};
use clap::Parser as _;

use crate::args::Args;

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
            let report = measure::all(&args, &edges, &binaries).await?;
            let missed = report.missed().iter().map(|target| target.name.clone()).collect();
            (report.table(), report.json()?, missed)
        }
    };
    eprintln!("{table}");
    if args.json.as_os_str() == "-" {
        println!("{json}");
    } else {
        std::fs::write(&args.json, json)?;
    }
    ensure!(missed.is_empty(), "missed targets: {}", missed.join("; "));
    Ok(())
}
