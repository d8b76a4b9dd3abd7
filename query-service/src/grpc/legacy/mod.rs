//! `nova.graph_service.v2.GraphService`: the older system's API, of which this process serves the reads.
//!
//! Its clients have no revision tokens and read their own writes. So a read holds at least what the stream held when
//! the call came. If no store gets that far in time, the read returns the current state: for these clients an old
//! answer is better than none.

mod fresh;
mod lists;
mod reads;
mod service;

pub use self::reads::{Legacy, LegacySettings};
