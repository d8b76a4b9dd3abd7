//! The gRPC API: parses requests into questions, and builds responses. Every refusal has a reason and names the field
//! at fault. `router` chooses the store that answers; only exports always read PostgreSQL.

mod access;
mod call;
mod counts;
mod errors;
mod export;
mod legacy;
mod list_messages;
mod lists;
mod methods;
mod queries;
mod relationships;
mod service;
mod sets;
mod status;
mod validate;
mod watch;

pub use self::access::{Access, LegacyAccess, LegacyReads};
pub use self::legacy::{Legacy, LegacySettings};
pub use self::methods::{LEGACY_READS, QUERIES};
pub use self::queries::Queries;
pub use self::status::PipelineStatus;
pub use self::watch::Watches;
