//! Checks of the manifests on a running node. Each prints what it saw.

mod apply;
mod disruptions;
mod failures;
mod images;
mod network;
mod production;
mod walk;

use std::time::Instant;

use anyhow::{Context, Result, bail};

pub use network::{listen, probe};

use crate::cluster::Cluster;

/// A check: its name, and what it does. It returns what it saw, a line each.
pub type Check = (&'static str, fn(&mut Cluster) -> Result<Vec<String>>);

/// All checks, in their order. After `walk`, each one applies the overlay that it needs.
const CHECKS: [Check; 8] = [
    ("images", images::build_and_run),
    ("apply", apply::dev_overlay),
    ("walk", walk::calls_of_the_demo),
    ("drain", disruptions::drain),
    ("memory", failures::out_of_memory),
    ("hang", failures::hang),
    ("production", production::overlay),
    ("network", network::policies),
];
/// How many of them the short form runs.
const SHORT: usize = 3;

/// The checks whose names are in `names`, all if it is empty, or those of the short form.
pub fn choose(names: &[String], short: bool) -> Result<Vec<Check>> {
    if short {
        return Ok(CHECKS[..SHORT].to_vec());
    }
    let known = CHECKS.map(|(name, _)| name);
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no check {unknown:?}\nwhat to do: choose from {}", known.join(", "));
    }
    let is_chosen = |check: &Check| names.is_empty() || names.iter().any(|name| name == check.0);
    Ok(CHECKS.into_iter().filter(is_chosen).collect())
}

/// Runs checks until one fails.
pub fn run(cluster: &mut Cluster, checks: &[Check]) -> Result<()> {
    for (name, check) in checks {
        let begun = Instant::now();
        let outcome = check(cluster);
        let seconds = begun.elapsed().as_secs_f64();
        if outcome.is_err() {
            println!("{name}: failed, {seconds:.0} s");
            // The failure is what counts.
            let pods = cluster.kubectl().run(&["get", "pods", "--output=wide"]);
            println!("{}", pods.unwrap_or_default());
        }
        let lines = outcome.with_context(|| format!("the check {name:?} failed"))?;
        println!("{name}: ok, {seconds:.0} s");
        for line in lines {
            println!("  {line}");
        }
    }
    Ok(())
}
