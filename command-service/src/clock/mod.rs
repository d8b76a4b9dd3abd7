//! Trust in PostgreSQL's clock.
//!
//! Expiry and partition drops cannot be undone, so they ask here first, and wait while the clock is not trusted. Writes
//! continue: their dates follow PostgreSQL's clock.

mod database_clock;
mod judge;

pub use database_clock::DatabaseClock;
