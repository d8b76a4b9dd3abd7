//! The SQL of this service. Functions take a connection; the caller owns the transaction.

pub mod chunks;
pub mod clock;
pub mod edges;
mod errors;
pub mod head;
pub mod job_cursor;
pub mod jobs;
pub mod load;
pub mod outbox;
pub mod partitions;
pub mod probe;
pub mod projectors;
pub mod recent;
pub mod replacement;
pub mod replies;
pub mod save;
pub mod targets;

pub use errors::{
    LONGEST_SERVER_TIMEOUT, finish, give_up, is_timeout, is_transient, misses_partition, within,
};
