//! Runs the selected parts of the benchmarks on one set of servers.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::args::{Args, Part};
use crate::report::Report;
use crate::setup::{Edge, Setup};
use crate::{erase, fallback, hops, lag, large, reads, sharing, snapshot, writes};

/// Measures the programs in a folder on fresh servers.
pub async fn all(args: &Args, edges: &[Edge], binaries: &Path) -> Result<Report> {
    let mut setup = Setup::start(binaries, &args.setting)?;
    let endpoints = setup.endpoints.clone();
    let each = Duration::from_secs(args.seconds);
    let mut report = Report::default();
    if args.wants(Part::Import) || args.wants(Part::Reads) || args.wants(Part::Sharing) {
        writes::import(&endpoints, edges, &mut report).await?;
    }
    if args.wants(Part::Reads) {
        reads::all(&endpoints, edges, each, &mut report).await?;
    }
    if args.wants(Part::Follows) {
        writes::follows(&endpoints, each, &mut report).await?;
    }
    if args.wants(Part::Lag) {
        lag::at_200_per_second(&endpoints, each * 3, &mut report).await?;
    }
    if args.wants(Part::Erase) {
        erase::beside(&endpoints, args.followers, each, &mut report).await?;
    }
    if args.wants(Part::Snapshot) {
        snapshot::held(&endpoints, Duration::from_secs(args.hold), each * 5, &mut report).await?;
    }
    if args.wants(Part::Hops) {
        hops::all(&endpoints, each, &mut report).await?;
    }
    if args.wants(Part::Large) {
        large::all(&setup, args.largest, each, &mut report).await?;
    }
    if args.wants(Part::Sharing) {
        sharing::on_and_off(&mut setup, edges, each, &mut report).await?;
    }
    if args.wants(Part::Fallback) {
        fallback::without_neo4j(&mut setup, each, &mut report).await?;
    }
    Ok(report)
}
