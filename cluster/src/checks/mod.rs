//! Checks of the manifests on a running node. Each prints what it saw.

mod apply;
mod autoscale;
mod compose;
mod disruptions;
mod failures;
mod images;
mod monitoring;
mod network;
mod production;
mod reboot;
mod rollout;
mod scaling;
mod settings;
mod walk;

use std::time::Instant;

use anyhow::{Context, Result, bail};

pub use network::{listen, probe};

use crate::cluster::Cluster;

/// A check: its name, and what it does. It returns what it saw, a line each.
pub type Check = (&'static str, fn(&mut Cluster) -> Result<Vec<String>>);

/// The checks that have passed, in their order. After `walk`, each one applies the overlay that it needs.
const CHECKS: [Check; 11] = [
    ("images", images::build_and_run),
    ("apply", apply::dev_overlay),
    ("walk", walk::calls_of_the_demo),
    ("drain", disruptions::drain),
    ("deletions", disruptions::deletions),
    ("memory", failures::out_of_memory),
    ("hang", failures::hang),
    ("reboot", reboot::node),
    ("scaling", scaling::query_service),
    ("production", production::overlay),
    ("network", network::policies),
];
/// How many of these the short form runs.
const SHORT: usize = 3;
/// Checks that have not passed yet: they run only if they are named.
const UNPROVEN: [Check; 6] = [
    ("rollout", rollout::update_and_undo),
    ("secrets", settings::rotate_token),
    ("replica", scaling::read_replica),
    ("monitoring", monitoring::prometheus),
    ("autoscale", autoscale::query_service),
    ("compose", compose::compose),
];

/// The checks whose names are in `names`, all that have passed if it is empty, or those of the short form.
pub fn choose(names: &[String], short: bool) -> Result<Vec<Check>> {
    if short {
        return Ok(CHECKS[..SHORT].to_vec());
    }
    if names.is_empty() {
        return Ok(CHECKS.to_vec());
    }
    let all = || CHECKS.into_iter().chain(UNPROVEN);
    if let Some(unknown) = names.iter().find(|name| all().all(|(known, _)| known != name.as_str())) {
        let known: Vec<_> = all().map(|(name, _)| name).collect();
        bail!("there is no check {unknown:?}\nwhat to do: choose from {}", known.join(", "));
    }
    Ok(all().filter(|(name, _)| names.iter().any(|chosen| chosen == name)).collect())
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
