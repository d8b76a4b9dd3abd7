//! The door: requests in, commands to the committer, answers out. No SQL here.
//!
//! Owns: the rules of methods, the checking of requests, and the words of errors.

mod access;
mod door;
mod errors;
mod import;
mod job;
mod legacy;
mod limits;
mod methods;
mod pairs;
mod parse;
mod places;
mod relationship_json;
mod replace;
mod service;
mod status;

pub use access::Access;
pub use door::Door;
pub use legacy::{Legacy, LegacyAccess};
pub use limits::WriteLimit;
pub use methods::{COMMANDS, LEGACY_WRITES};
pub use replace::Replacer;
pub use service::Service;
