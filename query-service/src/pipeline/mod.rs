//! What this process knows of the pipeline: the newest head, the recent events, how far the read model is, who projects.
//!
//! Owns: the knowledge and its age. It comes from signals on core NATS, from the stream, from probes of the
//! stores, and from answers. It must not know what is read, or decide where.
//! What can go wrong: signals get lost or stop. So nothing here is taken for proof: an answer proves its freshness
//! by the checkpoint that it was read with.

mod dates;
mod follow;
mod horizon;
mod replica;
mod ring;
mod signals;
mod sources;
mod tail;

pub use dates::Dates;
pub use follow::{Follower, Recent};
pub use horizon::{Horizon, LONGEST_STALENESS};
pub use replica::{Checkpoint, FoundCheckpoint, Replica, State};
pub use ring::{Arrival, Filter, Held, Limits, Ring, Side};
pub use signals::Signals;
pub use sources::{FeedMonitor, Sources};
pub use tail::{TURNS, Tail};
