//! `legacy`: what the verbs of the older system's migration tool are here.
//!
//! Owns `backfill` and `clear`, of which nothing is left to do but to tell; the others
//! have modules of their own.

mod check;
mod older;
mod stores;

use std::time::Duration;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use proto::command::v1::GetStatusRequest;
use proto::graph::v1::ReplicaStatus;
use serde::Serialize;

use crate::args::{ConnectionArgs, Format, LegacyVerb};
use crate::client::{self, CommandClient};
use crate::commands::Outcome;
use crate::output;

/// How often the read models are asked about.
const LOOK: Duration = Duration::from_millis(500);
/// A projector that lives is heard of by then.
const FIRST_WORD: Duration = Duration::from_secs(30);

/// As docs/operations.md has it under "Rebuild a read model"; a test compares the two.
const CLEAR: &str = "\
nothing was cleared: a read model is not emptied in place, a delete of millions of edges outlives every timeout

To build one anew, while the others and PostgreSQL serve:
  1. Stop its projector, then its Neo4j.
  2. Remove databases/NAME and transactions/NAME of Neo4j's data folder. NAME is NEO4J_DATABASE, or neo4j if that is not
     set. Neo4j's users stay. If you remove all of the data, they do not: set the password before the next start,
     neo4j-admin dbms set-initial-password PASSWORD.
  3. Start Neo4j, then the projector. It builds the read model; reads come from it once it is complete.
`followgraph legacy backfill` shows how far it is.";

/// What `clear` says, for programs.
#[derive(Debug, Serialize)]
struct Cleared {
    cleared: bool,
    how: &'static str,
}

/// A read model, for programs.
#[derive(Debug, Serialize)]
struct Replica {
    name: String,
    complete: bool,
    sweep_progress: f64,
    visible: u64,
    lag_revisions: u64,
}

/// Does what the verb asks for.
pub async fn run(connection: &ConnectionArgs, format: Format, verb: &LegacyVerb) -> anyhow::Result<Outcome> {
    match verb {
        LegacyVerb::Backfill => backfill(connection, format).await,
        LegacyVerb::Verify(args) => stores::verify(connection, format, args).await,
        LegacyVerb::Clear => clear(format),
        LegacyVerb::Check(args) => check::run(connection, format, args).await,
        LegacyVerb::Stats(args) => stores::stats(connection, format, args).await,
    }
}

fn clear(format: Format) -> anyhow::Result<Outcome> {
    match format {
        Format::Json => output::json(&Cleared { cleared: false, how: CLEAR })?,
        Format::Text => output::line(CLEAR),
    }
    Ok(Outcome::No)
}

async fn backfill(connection: &ConnectionArgs, format: Format) -> anyhow::Result<Outcome> {
    let mut client = client::command(connection).await?;
    let bar = ProgressBar::new(100);
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    let replicas = watch(&mut client, &bar).await;
    bar.finish_and_clear();
    let replicas = replicas?;
    match format {
        Format::Json => output::json(&replicas)?,
        Format::Text => {
            for replica in &replicas {
                output::line(format!(
                    "{} is complete: revision {} is visible, {} behind the head",
                    replica.name, replica.visible, replica.lag_revisions
                ));
            }
        }
    }
    Ok(Outcome::Done)
}

/// Watches until every read model is complete.
async fn watch(client: &mut CommandClient, bar: &ProgressBar) -> anyhow::Result<Vec<Replica>> {
    let patience = tokio::time::Instant::now() + FIRST_WORD;
    loop {
        let request = client.request(GetStatusRequest {});
        let status = client.rpc.get_status(request).await;
        let replicas = status.map_err(|s| client.failed(s))?.into_inner().replicas;
        if !replicas.is_empty() && replicas.iter().all(|replica| replica.complete) {
            return Ok(replicas.into_iter().map(Replica::from).collect());
        }
        match replicas.iter().filter(|replica| !replica.complete).min_by(by_progress) {
            Some(slowest) => {
                bar.set_position((slowest.sweep_progress.clamp(0.0, 1.0) * 100.0) as u64);
                bar.set_message(slowest.name.clone());
            }
            None if tokio::time::Instant::now() >= patience => {
                bail!("no projector was heard of: a read model is built by its projector; does one run?")
            }
            None => bar.set_message("waiting for a projector"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn by_progress(a: &&ReplicaStatus, b: &&ReplicaStatus) -> std::cmp::Ordering {
    a.sweep_progress.total_cmp(&b.sweep_progress)
}

impl From<ReplicaStatus> for Replica {
    fn from(status: ReplicaStatus) -> Self {
        Self {
            name: status.name,
            complete: status.complete,
            sweep_progress: status.sweep_progress,
            visible: status.visible,
            lag_revisions: status.lag_revisions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CLEAR;

    #[test]
    fn a_read_model_is_rebuilt_as_the_operations_guide_says() {
        let guide = include_str!("../../../docs/operations.md");
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
