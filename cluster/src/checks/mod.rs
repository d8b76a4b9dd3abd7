//! Checks of the manifests on a running node. Each prints what it saw.

mod apply;
mod images;

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;

/// A check: its name, and what it does. It returns what it saw, a line each.
type Check = (&'static str, fn(&mut Cluster) -> Result<Vec<String>>);

/// All checks. Each one leaves the cluster as the next one expects it.
const CHECKS: [Check; 2] = [("images", images::build_and_run), ("apply", apply::dev_overlay)];

/// Runs the checks whose names are in `chosen`; all if it is empty.
pub fn run(cluster: &mut Cluster, chosen: &[String]) -> Result<()> {
    let known = CHECKS.map(|(name, _)| name);
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no check {unknown:?}\nwhat to do: choose from {}", known.join(", "));
    }
    for (name, check) in CHECKS {
        if !chosen.is_empty() && !chosen.iter().any(|one| one == name) {
            continue;
        }
        let begun = Instant::now();
        let lines = check(cluster).with_context(|| format!("the check {name:?} failed"))?;
        println!("{name}: ok, {:.0} s", begun.elapsed().as_secs_f64());
        for line in lines {
            println!("  {line}");
        }
    }
    Ok(())
}
