//! The projector: keeps a Neo4j read model up to date, and builds, audits and repairs it.
//!
//! Owns: the way of an event from the stream into the read model, exactly once. It writes to nothing else.
//! Must not know: clients; it has no port but the admin port.
//! What can go wrong: servers that are away, or cannot be used as the settings lead to them, are waited for, and `/readyz`
//! says so. The process ends by itself only if another projector has taken over its read model, or an event is newer than
//! this program.

mod announce;
pub mod app;
mod apply;
pub mod config;
mod edge;
mod engine;
mod feed;
mod graph;
mod health;
pub mod metrics;
mod status;
mod sweep;
mod truth;
