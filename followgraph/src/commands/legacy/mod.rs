//! `legacy`: equivalents of the commands of the older system's migration tool.

mod check;
mod counts;
mod edges;

use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use indicatif::ProgressBar;
use proto::graph::v1::ReplicaStatus;
use serde::Serialize;
use tokio::time::Instant;

use self::counts::VerifyArgs;
use crate::client::CommandClient;
use crate::global::{GlobalArgs, Outcome};
use crate::output::{self, json_row};
use crate::stores::ReplicaArgs;

const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// command-service has received a heartbeat of every running projector by then.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// The steps of docs/operations.md under "Rebuild a read model"; a test compares both.
const CLEAR: &str = "\
nothing was cleared: a read model cannot be emptied in place, because deleting millions of edges exceeds all timeouts

To rebuild one, while the others and PostgreSQL serve:
  1. Stop its projector, then its Neo4j.
  2. Remove databases/NAME and transactions/NAME of Neo4j's data folder. NAME is NEO4J_DATABASE, or neo4j if that is not
     set. Neo4j's users stay. If you remove all of the data, they do not: set the password before the next start,
     neo4j-admin dbms set-initial-password PASSWORD.
  3. Start Neo4j, then the projector. It builds the read model; reads come from it once it is complete.
`followgraph legacy backfill` shows the progress.";

/// A command of the older system's migration tool.
#[derive(Debug, Subcommand)]
pub enum LegacyVerb {
    /// Wait until all read models are complete, and show the progress
    ///
    /// Nothing needs to be started: each projector builds its read model, and repairs it continuously.
    Backfill,
    /// Compare the edge counts of PostgreSQL and Neo4j at one revision; exit code 1 if they differ
    ///
    /// The stores are those of followgraph; set NEO4J_URIS to include every read replica. The command repeats the count
    /// until all stores are complete and at one revision. If they do not get there within 30 seconds, because a projector
    /// lags or writes continue, the exit code is 1. (The projector's sweep compares every edge; `status` shows its
    /// results.)
    ///
    /// With --from-legacy-postgres, the command also compares every edge of the older system's database with PostgreSQL.
    /// The exit code is 1 if one is missing, extra, or has another date. Run it after the import and before the first
    /// write.
    Verify(VerifyArgs),
    /// Print how to rebuild a read model; changes nothing, exit code 1
    Clear,
    /// Check that all servers and services answer; exit code 1 if one does not
    Check(ReplicaArgs),
    /// Count the edges of each kind in PostgreSQL and Neo4j
    Stats(ReplicaArgs),
}

#[derive(Debug, Serialize)]
struct Cleared {
    cleared: bool,
    how: &'static str,
}

json_row! {
    struct Replica from status: &ReplicaStatus {
        name: String = status.name.clone(),
        complete: bool = status.complete,
        sweep_progress: f64 = status.sweep_progress,
        visible: u64 = status.visible,
        lag_revisions: u64 = status.lag_revisions,
    }
}

pub async fn run(global: &GlobalArgs, verb: &LegacyVerb) -> anyhow::Result<Outcome> {
    match verb {
        LegacyVerb::Backfill => backfill(global).await,
        LegacyVerb::Verify(args) => counts::verify(global, args).await,
        LegacyVerb::Clear => {
            global.output.show(&Cleared { cleared: false, how: CLEAR }, || CLEAR.to_owned())?;
            Ok(Outcome::No)
        }
        LegacyVerb::Check(args) => check::run(global, args).await,
        LegacyVerb::Stats(args) => counts::stats(global, args).await,
    }
}

async fn backfill(global: &GlobalArgs) -> anyhow::Result<Outcome> {
    let mut client = global.connection.command_client().await?;
    let replicas = wait_complete(&mut client).await?;
    global.output.show(&replicas, || {
        let line = |Replica { name, visible, lag_revisions, .. }: &Replica| {
            format!("{name} is complete: revision {visible} is visible, {lag_revisions} behind the head")
        };
        replicas.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Outcome::Done)
}

async fn wait_complete(client: &mut CommandClient) -> anyhow::Result<Vec<Replica>> {
    let bar = ProgressBar::new(100);
    output::style(&bar, "{bar:20} {percent:>3} %  {msg}", |style| style);
    let until = Instant::now() + HEARTBEAT_TIMEOUT;
    loop {
        let replicas = client.status().await?.replicas;
        let incomplete = replicas.iter().filter(|replica| !replica.complete);
        match incomplete.min_by(|a, b| a.sweep_progress.total_cmp(&b.sweep_progress)) {
            Some(slowest) => {
                bar.set_position((slowest.sweep_progress.clamp(0.0, 1.0) * 100.0) as u64);
                bar.set_message(slowest.name.clone());
            }
            None if !replicas.is_empty() => return Ok(replicas.iter().map(Replica::new).collect()),
            None if Instant::now() >= until => {
                bail!("no heartbeat of a projector, which builds the read model: does one run?")
            }
            None => bar.set_message("waiting for a projector"),
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::CLEAR;

    #[test]
    fn clear_prints_the_steps_of_the_operations_guide() {
        let guide = include_str!("../../../../docs/operations.md");
        let (_, rest) = guide.split_once("### Rebuild a read model").expect("the section");
        let (section, _) = rest.split_once("\n### ").expect("the section after it");
        let plain = |text: &str| text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ");
        let (guide, said) = (plain(section), plain(CLEAR));
        for step in [
            "Stop its projector, then its Neo4j.",
            "Remove databases/NAME and transactions/NAME of Neo4j's data folder. NAME is NEO4J_DATABASE, or neo4j if that is not set.",
            "set the password before the next start, neo4j-admin dbms set-initial-password PASSWORD",
            "Start Neo4j, then the projector.",
        ] {
            assert!(guide.contains(step) && said.contains(step), "{step}\n{guide}\n{said}");
        }
    }
}
