//! The gRPC server of a process.
//!
//! Owns: settings of the port, the accept loop, health, reflection, and what happens around every call: metrics,
//! deadlines, panics, and errors that the gRPC library words differently from us.
//! Must not know: which services are served.
//! What can go wrong: the port is taken; the descriptors do not parse.
//!
//! The accept loop is ours because tonic's cannot jitter the age of connections, closes an old connection without
//! warning as soon as a grace is set, never closes connections at the end of a drain, and enforces deadlines outside of
//! every layer with the wrong code.

mod body;
mod call;
mod connection;
mod deadline;
pub mod errors;
mod health;
mod methods;
mod remap;
mod server;
mod settings;
mod tls;

pub use deadline::Deadline;
pub use server::{Error, Server};
pub use settings::Settings;
pub use tls::ServerTls;
