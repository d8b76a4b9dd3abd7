//! The reads of the older system's API, `nova.graph_service.v2.GraphService`.
//!
//! Its clients have no revision tokens and expect to read their own writes. So a read waits until it holds what the
//! stream held at the time of the call. If no store gets that far in time, the read returns the current state, since
//! for these clients a stale answer is better than none.

mod fresh;
mod lists;
mod reads;
mod service;

pub use self::reads::{Legacy, LegacySettings};
