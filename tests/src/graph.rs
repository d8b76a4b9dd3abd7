//! Small random graphs, determined by the seed.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

/// Edges among `users` accounts, heavy-tailed, without duplicates; every call creates new accounts.
pub fn random(seed: u64, users: usize, edges: usize) -> Vec<(String, String)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let names: Vec<String> = (0..users).map(|_| Uuid::new_v4().to_string()).collect();
    let mut seen = BTreeSet::new();
    let mut list = Vec::with_capacity(edges);
    while list.len() < edges {
        let source = rng.random_range(0..users);
        // Squaring makes a few accounts popular.
        let target = (rng.random::<f64>().powi(2) * users as f64) as usize;
        if source != target && seen.insert((source, target)) {
            list.push((names[source].clone(), names[target].clone()));
        }
    }
    list
}
