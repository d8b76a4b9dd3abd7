//! The generated graph of the demo: heavy-tailed like real follow graphs, the same on every machine.
//!
//! It uses only integers, since floating point may differ between machines. A test pins the hash of the whole file.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};

/// Accounts have the ids 1 to this.
pub const ACCOUNTS: u64 = 50_000;
/// All edges.
pub const EDGES: usize = 200_000;
/// The account that is followed most.
pub const CELEBRITY: u64 = 1;
/// How many follow it.
pub const CELEBRITY_FOLLOWERS: usize = 20_000;

/// 2024-01-01T00:00:00Z; edges have dates in the two years from here.
const FIRST_SECOND: u64 = 1_704_067_200;
const SECONDS: u64 = 2 * 365 * 24 * 60 * 60;

/// `follower` follows `followed` since `date`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Seconds since 1970.
    pub date: u64,
    /// Who follows.
    pub follower: u64,
    /// Who is followed.
    pub followed: u64,
}

/// SplitMix64 (Steele, Lea and Flood 2014): a counter, and a mixing function of 64 bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; the tiny bias of the remainder does not matter here.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A number below `limit`, small ones much more often: `limit` times the `power`-th power of a
    /// fraction. The power 3 gives number n about n^(-2/3) of all draws.
    fn skewed(&mut self, limit: u64, power: u32) -> u64 {
        let fraction = u128::from(self.next() >> 32);
        let mut value = u128::from(limit);
        for _ in 0..power {
            value *= fraction;
        }
        // Exact until here: 17 bits of limit and at most 3 * 32 bits of fraction.
        u64::try_from(value >> (32 * power)).unwrap_or_default()
    }
}

/// All edges, in order of their dates.
pub fn edges() -> Vec<Edge> {
    let mut random = Random(2_024);
    let mut seen = HashSet::with_capacity(EDGES);
    let mut edges = Vec::with_capacity(EDGES);
    let mut add = |random: &mut Random, edges: &mut Vec<Edge>, follower, followed| {
        if follower != followed && seen.insert((follower, followed)) {
            edges.push(Edge { date: FIRST_SECOND + random.below(SECONDS), follower, followed });
        }
    };
    while edges.len() < CELEBRITY_FOLLOWERS {
        let follower = 1 + random.below(ACCOUNTS);
        add(&mut random, &mut edges, follower, CELEBRITY);
    }
    while edges.len() < EDGES {
        // The busiest readers have high ids, the most read accounts low ones.
        let follower = ACCOUNTS - random.skewed(ACCOUNTS, 2);
        // From 2 on: the celebrity has all its followers.
        let followed = 2 + random.skewed(ACCOUNTS - 1, 3);
        add(&mut random, &mut edges, follower, followed);
    }
    edges.sort_unstable();
    edges
}

/// Writes the graph as tab-separated text: follower, followed, date in seconds since 1970.
pub fn write(file: &Path) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let partial = file.with_extension("partial");
        let mut output = BufWriter::new(File::create(&partial)?);
        write_edges(&mut output)?;
        output.flush()?;
        std::fs::rename(partial, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

fn write_edges(output: &mut impl Write) -> std::io::Result<()> {
    for edge in edges() {
        writeln!(output, "{}\t{}\t{}", edge.follower, edge.followed, edge.date)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_graph_has_the_shape_that_the_demo_promises() {
        let edges = edges();
        assert_eq!(edges.len(), EDGES);
        let distinct: HashSet<_> = edges.iter().map(|it| (it.follower, it.followed)).collect();
        assert_eq!(distinct.len(), EDGES);
        let mut followers: HashMap<u64, usize> = HashMap::new();
        let mut following: HashMap<u64, usize> = HashMap::new();
        for edge in &edges {
            assert_ne!(edge.follower, edge.followed);
            assert!((1..=ACCOUNTS).contains(&edge.follower));
            assert!((1..=ACCOUNTS).contains(&edge.followed));
            *followers.entry(edge.followed).or_default() += 1;
            *following.entry(edge.follower).or_default() += 1;
        }
        assert_eq!(followers[&CELEBRITY], CELEBRITY_FOLLOWERS);
        let mut degrees: Vec<_> = followers.into_values().collect();
        degrees.sort_unstable();
        // Heavy-tailed: a few have thousands, half of the accounts a handful.
        assert_eq!(degrees.pop(), Some(CELEBRITY_FOLLOWERS));
        assert!(degrees.last().is_some_and(|degree| (1_000..10_000).contains(degree)));
        assert!(degrees[degrees.len() / 2] < 10);
        assert!(following.into_values().max().is_some_and(|degree| degree > 200));
    }

    #[test]
    fn the_graph_is_the_same_on_every_machine() {
        let mut text = Vec::new();
        write_edges(&mut text).unwrap();
        assert_eq!(
            hex::encode(Sha256::digest(&text)),
            "37236216a7284c983a69e7ca9621eefeaafc414bcc79223359353fc0700041a9"
        );
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for the seed 0, as published with the algorithm.
        let mut random = Random(0);
        assert_eq!(random.next(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(random.next(), 0x6E78_9E6A_A1B9_65F4);
    }
}
