//! The contract: what clients, services and subscribers must agree on. The generated messages and services, the text
//! and byte forms of ids, tokens and events, the names on NATS, and the table from an error's reason to its gRPC code.
//!
//! Every decoder returns an error that names what is wrong; none panics. This crate knows no store, driver or process.

// The generated code carries `allow` attributes of its own.
#![expect(clippy::allow_attributes, reason = "generated code")]

pub mod error;
pub mod etag;
pub mod event;
mod generated;
pub mod ids;
pub mod legacy;
pub mod methods;
pub mod subjects;
pub mod timestamp;
pub mod token;

pub use etag::Etag;
pub use generated::{command, event as events, graph, query};
pub use ids::{Epoch, Position, Revision, UserId};
pub use token::Token;

/// All descriptors, for the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[cfg(test)]
mod legacy_tests;
