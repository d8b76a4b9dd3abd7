//! Work without a caller: jobs, in chunks, and the expiry of mutes and blocks.
//!
//! Each step is a transaction of its own that locks the head first, like every writer, and decides again under the
//! lock. So a step that is lost, repeated or overtaken by a command does no harm.

mod backoff;
mod expiry;
mod outcome;
mod plan;
mod replace;
mod step;
mod worker;

pub use worker::{Settings, Worker};
