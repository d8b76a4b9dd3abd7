//! What this process knows of the pipeline: the newest head, how far the read model is, who projects.
//!
//! Owns: the knowledge and its age. It comes from signals on core NATS, from probes of the stores, and from answers.
//! It must not know what is read, or decide where.
//! What can go wrong: signals get lost or stop. So nothing here is taken for proof: an answer proves its freshness
//! by the checkpoint that it was read with.

mod horizon;
mod replica;
mod roster;
mod signals;

pub use horizon::{Beacon, Horizon, LONGEST_STALENESS};
pub use replica::{Checkpoint, Replica, State};
pub use roster::{Announcement, Roster};
pub use signals::Signals;
