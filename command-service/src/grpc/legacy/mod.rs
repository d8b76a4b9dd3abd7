//! `nova.graph_service.v2.GraphService`: the older system's API. This process serves its writes.

mod access;
mod service;

pub use access::LegacyAccess;
pub use service::Legacy;
