//! Group commit: many commands in one transaction.
//!
//! Reading order: `queue` (commands wait), `group_commit` (forms batches, retries, answers), `transaction` (one
//! attempt), `batch` (decides the commands), `journal` (makes the events).

mod batch;
mod commit_probe;
mod group_commit;
mod journal;
mod outcome;
mod pieces;
mod queue;
mod transaction;

pub use commit_probe::CommitProbe;
pub use group_commit::{Committer, Settings};
pub use journal::Journal;
pub use outcome::{Failure, Outcome};
pub use queue::{Lane, Queue, QueueFull, Unit};
