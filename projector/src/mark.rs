//! Positions in the log.

pub use event_log::LogPosition as Mark;
