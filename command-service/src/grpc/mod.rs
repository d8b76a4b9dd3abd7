//! The gRPC services: check requests, execute commands through the committer, build responses and errors. No SQL here.

mod access;
mod accounts;
mod batch_write;
mod errors;
mod fair_semaphore;
mod gateway;
mod import;
mod job;
mod legacy;
mod limits;
mod methods;
mod pairs;
mod parse;
mod relationship_json;
mod replace;
mod service;
mod status;

pub use access::Access;
pub use gateway::CommandGateway;
pub use import::Importer;
pub use legacy::{Legacy, LegacyAccess};
pub use limits::WriteLimit;
pub use methods::{COMMANDS, LEGACY_WRITES};
pub use replace::Replacer;
pub use service::Service;
pub use status::StatusReader;
