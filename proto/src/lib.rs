//! The contract: what clients, services and subscribers must agree on.
//!
//! Owns the messages and services generated from the .proto files, the text and
//! byte forms of ids, tokens and events, the names on NATS, and the table that
//! maps an error's reason to its gRPC code. It must not know any store, driver
//! or process. What can go wrong here is input: every decoder answers with an
//! error that names what is wrong, and none panics.

// The generated code carries `allow` attributes of its own.
#![expect(clippy::allow_attributes, reason = "generated code")]

pub mod error;
pub mod etag;
pub mod event;
pub mod ids;
pub mod legacy;
pub mod subjects;
pub mod timestamp;
pub mod token;

pub use etag::Etag;
pub use ids::{Epoch, Position, Revision, UserId};
pub use token::Token;

/// Shared kinds, reasons and states (`followgraph.graph.v1`).
pub mod graph {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("followgraph.graph.v1");
    }
}

/// The write side's service (`followgraph.command.v1`).
pub mod command {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("followgraph.command.v1");
    }
}

/// The read side's service (`followgraph.query.v1`).
pub mod query {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("followgraph.query.v1");
    }
}

/// What subscribers read, as it is on the wire (`followgraph.event.v1`). Our own
/// code uses the checked form in [`event`].
pub mod events {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("followgraph.event.v1");
    }
}

/// All descriptors, for the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[cfg(test)]
mod legacy_tests;
