//! The door: requests in, commands to the committer, answers out. No SQL here.
//!
//! Owns: access, the checking of requests, and the words of errors.

mod access;
mod errors;
mod import;
mod parse;
mod service;

pub use access::Access;
pub use service::Service;
