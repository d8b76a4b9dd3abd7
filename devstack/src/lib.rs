//! Development servers of followgraph: real PostgreSQL, NATS and Neo4j as child processes, and the services on them.
//!
//! For the test harness, the benchmarks and `xtask`. It links no service: it knows their binaries, their environment
//! variables and `/readyz`. The interface is synchronous, so that it works outside of an async runtime.
//!
//! Every error names the server, shows the last lines of its log and says what to do.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use devstack::{Ports, Server, Servers, Sizes, Tools};
//!
//! let tools = Tools::install()?;
//! let mut servers = Servers::temporary(&tools, Ports::free()?, Sizes::SMALL)?;
//! println!("{}", servers.postgres.url());
//! servers.neo4j.kill9()?;
//! servers.neo4j.start_again()?;
//! # Ok(())
//! # }
//! ```

pub mod daemon;
pub mod debian;
pub mod env_file;
pub mod fake_time;
pub mod fetch;
pub mod go;
pub mod graph;
pub mod grpcurl;
pub mod http;
pub mod lock_file;
pub mod monitoring;
pub mod nats;
pub mod neo4j;
pub mod pgbouncer;
pub mod pins;
pub mod pipeline;
pub mod ports;
pub mod postgres;
pub mod prerequisites;
pub mod principals;
mod private_file;
pub mod process;
pub mod prometheus;
pub mod promql;
pub mod python;
pub mod secrets;
pub mod servers;
pub mod services;
pub mod status;
pub mod tls;
pub mod user;
pub mod workspace;

pub use daemon::Server;
pub use fake_time::FakeTime;
pub use fetch::Tools;
pub use nats::Nats;
pub use neo4j::{Neo4j, Sizes};
pub use pgbouncer::PgBouncer;
pub use pipeline::Pipeline;
pub use ports::Ports;
pub use postgres::Postgres;
pub use principals::Principal;
pub use secrets::Secrets;
pub use servers::{Servers, SpareNeo4j};
pub use services::Service;
pub use tls::Tls;
