//! The node stops with everything on it, under load, and starts again: no acknowledged write is lost.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    cluster::{Cluster, output, until},
    load::Load,
    node::{self, Node},
};

/// Time until the first answer: PostgreSQL repairs its files.
const LIMIT: Duration = Duration::from_secs(240);

pub fn node(cluster: &mut Cluster) -> Result<Vec<String>> {
    cluster.overlay("load")?;
    let load = Load::start(cluster)?;
    // Nothing ends in order: the kernel kills all processes.
    node::stop(&cluster.node.place)?;
    // Its network is gone, so these clients cannot return.
    let seen = load.end()?;
    let begun = Instant::now();
    cluster.node = Node::start(&cluster.node.place, &cluster.node.programs)?;
    let node = begun.elapsed();
    let (command, query) = (cluster.address("command-service")?, cluster.address("query-service")?);
    until(LIMIT, || output(cluster.cli(&command, &query).args(["follow", "1", "2"])).map(drop))?;
    until(LIMIT, || output(cluster.cli(&command, &query).args(["check", "1", "2"])).map(drop))?;
    let answered = begun.elapsed();
    seen.verify(cluster)?;
    cluster.wait_ready()?;
    let ready = begun.elapsed();
    let after = Load::start(cluster)?.end_unbroken(cluster)?;
    Ok(vec![
        format!(
            "the node is ready after {:.0} s, writes and reads are answered after {:.0} s, all pods are ready after {:.0} s",
            node.as_secs_f64(),
            answered.as_secs_f64(),
            ready.as_secs_f64()
        ),
        format!("before: {}; every acknowledged write is there", seen.line()),
        format!("after: {}", after.line()),
    ])
}
