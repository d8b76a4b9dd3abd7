//! Harness of the integration tests: clients of a running pipeline, sets of servers for tests that break them, the
//! state read from every store, and waiting.
//!
//! It is independent of the services' code: it sees what clients, operators and subscribers see.
//!
//! Most tests share the pipeline that `cargo xtask test` starts, and use unique account ids. A test that breaks servers
//! starts its own set ([`own::Own`]), alone or concurrently with another light one ([`turns::Weight`]).

pub mod asks;
pub mod balancer;
pub mod burden;
pub mod certificates;
pub mod clients;
pub mod collector;
pub mod database;
pub mod endpoints;
pub mod explained;
pub mod faketime;
pub mod fault_proxy;
pub mod graph;
pub mod importing;
pub mod jobs;
pub mod metrics;
pub mod model;
pub mod nats_operator;
pub mod own;
pub mod pooler;
pub mod proxy;
pub mod raw;
pub mod refusal;
mod spare;
pub mod status;
pub mod truth;
pub mod turns;
pub mod wait;

pub use asks::{Act, Ask};
pub use clients::{Commands, Queries};
pub use endpoints::Endpoints;
pub use own::Own;
pub use wait::{LIMIT, until, until_within};

/// An account that no other test uses.
pub fn new_user() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An account that no other test uses, as an id.
pub fn user() -> proto::UserId {
    proto::UserId::new(uuid::Uuid::new_v4()).expect("a random id is not nil")
}

/// `N` of them.
pub fn users<const N: usize>() -> [proto::UserId; N] {
    std::array::from_fn(|_| user())
}
