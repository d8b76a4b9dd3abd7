//! The replicas of the read model: the position of each, whether it receives reads, and which one receives the next.
//!
//! Also contains all breakers and probes, including those of PostgreSQL.

mod breaker;
mod checkpoint;
mod dates;
mod probe;
mod select;
mod settings_check;
mod signals;

pub use self::breaker::Breaker;
pub use self::checkpoint::{Replica, State};
pub use self::dates::Dates;
pub use self::probe::{Neo4jProbe, PostgresProbe};
pub use self::select::{Picked, ReadModel, ReplicaHealth, Replicas, Tolerance, Tried, Unfit};
pub use self::settings_check::SettingsCheck;
pub use self::signals::Signals;
