//! What outlives a session.

use service_kit::clock::{SharedClock, corrected};
use service_kit::readiness::Latch;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::batch_limit::BatchLimit;
use super::lag::TruthLag;
use crate::feed::Sources;
use crate::graph::Replica;

/// The readiness checks of the read model.
#[derive(Debug)]
pub struct Latches {
    /// Neo4j accepts writes of this projector.
    pub model: Latch,
    /// The read model is complete and follows the log.
    pub complete: Latch,
}

/// What the sessions of a process have in common.
pub(super) struct Shared {
    pub(super) replica: Replica,
    pub(super) sources: Sources,
    pub(super) latches: Latches,
    pub(super) clock: SharedClock,
    pub(super) sweep_edges_per_second: u32,
    pub(super) lag: TruthLag,
    pub(super) batch_limit: BatchLimit,
}

impl Shared {
    /// The time of day, by PostgreSQL's clock if it differs much: PostgreSQL dates the commits.
    pub(super) fn now(&self) -> OffsetDateTime {
        corrected(self.clock.now(), self.sources.heard.time(Instant::now()))
    }
}
