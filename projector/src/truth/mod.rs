//! Reads of PostgreSQL, the source of truth. It never writes, and every error is worth another attempt.

mod counts;
mod database;
mod edges;

pub use self::counts::Sums;
pub use self::database::{Error, Truth};
pub use self::edges::Row;
