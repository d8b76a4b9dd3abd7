//! The generation of each replica's repairs, as the probe last read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::queries::Generation;

/// The number that stands for an unknown generation.
const UNKNOWN: i64 = -1;

/// The current generation of each replica, by its number. Clones share it.
#[derive(Clone, Debug)]
pub struct Generations(Arc<[AtomicI64]>);

impl Generations {
    /// None is known.
    pub fn new(replicas: usize) -> Self {
        Self((0..replicas).map(|_| AtomicI64::new(UNKNOWN)).collect())
    }

    /// The current generation of a replica. Unknown: no entry of it is valid.
    pub fn get(&self, replica: usize) -> Option<Generation> {
        Generation::new(self.0.get(replica)?.load(Ordering::Acquire))
    }

    /// Records what the probe read.
    pub fn set(&self, replica: usize, generation: Option<Generation>) {
        if let Some(place) = self.0.get(replica) {
            place.store(generation.map_or(UNKNOWN, Generation::number), Ordering::Release);
        }
    }
}
