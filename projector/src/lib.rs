//! The projector: keeps a Neo4j read model up to date, and builds, audits and repairs it. It applies each event exactly
//! once, and writes to nothing else.
//!
//! It waits for servers that are down or refuse its settings, and `/readyz` says so. The process ends only if another
//! projector has taken over its read model, or if an event is newer than this program.

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
