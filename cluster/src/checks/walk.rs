//! The calls of `cargo xtask demo`, from outside of the pods and at the addresses of the Services, with their answers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use devstack::{graph, status};
use serde_json::Value;

use crate::cluster::{Cluster, until};

/// Accounts of the demo: the one that is followed most, another one of the graph, and one outside of it.
const STAR: &str = "1";
const OTHER: &str = "2";
const NEWCOMER: &str = "100001";
/// How long the read model may lag behind the import.
const CATCH_UP: Duration = Duration::from_secs(300);

pub fn calls_of_the_demo(cluster: &mut Cluster) -> Result<Vec<String>> {
    let cli = Cli::of(cluster)?;
    let file = cluster.node.place.folder("walk")?.join("graph.tsv");
    graph::write(&file)?;
    let file = file.to_str().context("the path of this clone is not UTF-8")?;

    let begun = Instant::now();
    let imported = cli.call(&["import", file])?.one()?;
    let stored = imported["accepted"].as_u64().zip(imported["unchanged"].as_u64());
    let stored = stored.map(|(accepted, unchanged)| accepted + unchanged);
    ensure!(stored == Some(graph::EDGES as u64), "not all edges were imported: {imported}");
    let took = begun.elapsed();
    let caught_up = until(CATCH_UP, || {
        let status = cli.call(&["status"])?.one()?;
        ensure!(status::has_caught_up(&status), "the read model lags: {status}");
        Ok(())
    })?;

    cli.call(&["follow", NEWCOMER, STAR])?;
    let token = token(&cli.call(&["follow", NEWCOMER, OTHER])?.one()?)?;
    let check = cli.call(&["check", NEWCOMER, OTHER, "--fresh", &token])?;
    ensure!(
        check.yes && check.one()?["following"] == true,
        "a read with the token misses the write: {check:?}"
    );
    let newcomer = check.one()?["viewer_id"].clone();
    let checks = cli.call(&["check", NEWCOMER, STAR, OTHER, "3", "--fresh", &token])?;
    let following: Vec<_> = checks.rows.iter().map(|row| row["following"] == true).collect();
    ensure!(!checks.yes && following == [true, true, false], "wrong checks: {checks:?}");
    let followers = cli.call(&["followers", STAR, "--limit", "5", "--fresh", &token])?;
    let rows: Vec<_> = followers.rows.iter().filter(|row| !row["user_id"].is_null()).collect();
    ensure!(rows.len() == 5 && rows[0]["user_id"] == newcomer, "not the newest followers: {followers:?}");
    let counts = cli.call(&["counts", STAR, NEWCOMER, "--fresh", &token])?;
    ensure!(
        counts.rows[0]["followers"] == graph::CELEBRITY_FOLLOWERS + 1 && counts.rows[1]["following"] == 2,
        "wrong counts: {counts:?}"
    );
    cli.call(&["unfollow", NEWCOMER, OTHER])?;
    let token = self::token(&cli.call(&["unfollow", NEWCOMER, STAR])?.one()?)?;
    let check = cli.call(&["check", NEWCOMER, STAR, "--fresh", &token])?;
    ensure!(!check.yes && check.one()?["following"] == false, "the end of a follow is not seen: {check:?}");
    ensure!(cli.call(&["status"])?.yes, "followgraph status reports a problem");
    Ok(vec![
        format!(
            "{} edges imported in {:.0} s, in the read model {:.0} s later",
            graph::EDGES,
            took.as_secs_f64(),
            caught_up.as_secs_f64()
        ),
        "follow, check, followers, counts, unfollow and status answer as expected".to_owned(),
    ])
}

/// `followgraph` at the addresses of the Services.
struct Cli<'a> {
    cluster: &'a Cluster,
    command: String,
    query: String,
}

/// What it printed as JSON, and whether its exit code was 0.
#[derive(Debug)]
struct Answer {
    rows: Vec<Value>,
    yes: bool,
}

impl<'a> Cli<'a> {
    fn of(cluster: &'a Cluster) -> Result<Self> {
        let (command, query) = (cluster.address("command-service")?, cluster.address("query-service")?);
        Ok(Self { cluster, command, query })
    }

    fn call(&self, arguments: &[&str]) -> Result<Answer> {
        let mut cli = self.cluster.cli(&self.command, &self.query);
        let output = cli.args(arguments).args(["-o", "json"]).output().context("cannot run followgraph")?;
        let code = output.status.code();
        ensure!(
            matches!(code, Some(0 | 1)),
            "`followgraph {}` failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8_lossy(&output.stdout);
        let rows = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(Answer { rows: rows.context("the output of followgraph is not JSON")?, yes: code == Some(0) })
    }
}

impl Answer {
    fn one(&self) -> Result<Value> {
        self.rows.first().cloned().context("followgraph printed nothing")
    }
}

fn token(written: &Value) -> Result<String> {
    written["written_at"].as_str().map(str::to_owned).context("the output of a write has no token")
}
