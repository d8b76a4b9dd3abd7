//! Arguments of the benchmarks.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;

/// Measures imports, follows, lag, jobs and reads, each against bare SQL in the same run
#[derive(Debug, Parser)]
pub struct Args {
    /// File of edges to import: two tab-separated ids per line, plain or gzip [default: a generated graph]
    #[arg(long)]
    pub edges: Option<PathBuf>,
    /// Duration of each measurement in seconds
    #[arg(long, default_value_t = 4)]
    pub seconds: u64,
    /// Followers of the account to erase, and length of the list to replace
    #[arg(long, default_value_t = 100_000)]
    pub followers: usize,
    /// Followers of the largest account of `large`
    #[arg(long, default_value_t = 1_000_000)]
    pub largest: usize,
    /// Seconds for which `snapshot` keeps a snapshot open
    #[arg(long, default_value_t = 300)]
    pub hold: u64,
    /// Setting of the services, to find better defaults; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub setting: Vec<(String, String)>,
    /// Parts to measure [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Compare the programs of this tree with those in a folder (release builds of the three services and `followgraph`)
    #[arg(long, value_name = "FOLDER")]
    pub against: Option<PathBuf>,
    /// Number of measurements of each set of programs, with --against
    #[arg(long, default_value_t = 3, requires = "against")]
    pub rounds: usize,
    /// File for the figures as JSON; - for stdout
    #[arg(long, default_value = "-")]
    pub json: PathBuf,
}

/// A part of the benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The import; `reads` and `sharing` need it
    Import,
    /// Reads
    Reads,
    /// Single follows
    Follows,
    /// Lag at 200 follows per second
    Lag,
    /// Follows during the replacement of a long list, and during the erase of a large account
    Erase,
    /// Follows while a snapshot of PostgreSQL is open
    Snapshot,
    /// Checks and counts with shared statements, against one statement each
    Sharing,
    /// Reads while Neo4j is down
    Fallback,
    /// Multi-hop reads of accounts of increasing size
    Hops,
    /// Reads of accounts of increasing size, and the memory of jobs on the largest
    Large,
}

impl Args {
    /// Whether to measure a part.
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn setting(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
