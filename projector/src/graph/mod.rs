//! Reads and changes of the read model. It is changed exactly once for each event, and by one writer alone.
//!
//! Reading order: [`exchange`] (`Replica` and its transactions), [`node`] (the checkpoint's node and its lock),
//! [`checkpoint`] (creating it, taking it over, resetting it), [`write`] (guarded changes), [`message`] and [`cypher`]
//! (their statements); then the reads of the sweep: [`range`], [`degrees`], [`walk`].
//!
//! An account's node is deleted when the erasing of the account ends, and by the sweep's walk when it has no edges: ids
//! must not outlive the edges that name them.

mod checkpoint;
mod cypher;
mod degrees;
mod error;
mod exchange;
mod message;
mod node;
mod range;
mod walk;
mod write;

pub use self::checkpoint::{Checkpoint, Content, Cursor};
pub use self::degrees::Degrees;
pub use self::error::Error;
pub use self::exchange::Replica;
pub use self::message::{Changes, PutRow};
pub use self::range::{EdgeRange, Found};
pub use self::walk::{Misplaced, Walked};
