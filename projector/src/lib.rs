//! The projector: keeps a Neo4j read model up to date, and builds, audits and repairs it.
//!
//! Owns: the way of an event from the stream into the read model, exactly once. It writes to nothing else.
//! Must not know: clients; it has no port but the admin port.
//! What can go wrong: servers that are away are waited for, and `/readyz` says so. The process ends by itself only for
//! what waiting cannot cure: another projector has taken over its read model, the read model's server holds foreign
//! data, the database has another schema, or an event is newer than this program.

mod announce;
pub mod app;
mod apply;
pub mod config;
mod edge;
mod engine;
mod feed;
mod graph;
mod health;
mod mark;
pub mod metrics;
mod status;
mod sweep;
mod truth;
