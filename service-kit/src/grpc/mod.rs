//! The gRPC server of a process: settings of the port, the accept loop, health, reflection, and what happens around
//! every call: authorization, limits, metrics, deadlines, panics, and errors that the gRPC library words differently.
//!
//! The accept loop is ours because tonic's cannot jitter the age of connections, closes an old connection without
//! warning as soon as a grace is set, never closes connections at the end of a drain, and enforces deadlines outside of
//! every layer with the wrong code.

mod body;
mod call;
mod connection;
mod connections;
mod deadline;
mod delivery;
mod dispatch;
mod health;
mod limits;
mod methods;
mod remap;
mod rules;
mod server;
mod settings;
mod tls;
mod upload;

pub use crate::errors;

pub use deadline::Deadline;
pub use rules::{Gate, MethodRule, Rules, mismatches};
pub use server::{Error, REQUEST_ENCODING, Server};
pub use settings::Settings;
pub use tls::ServerTls;
