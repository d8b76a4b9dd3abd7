//! What every service process needs: settings, logs, metrics, traces, health, a gRPC server, and connections that
//! survive a restart of the other side. It knows drivers (PostgreSQL, NATS, Neo4j, gRPC) and no domain noun; only texts
//! for operators name the services.
//!
//! A service's `main` is short:
//!
//! ```no_run
//! use service_kit::{config::Env, process};
//!
//! struct Config {
//!     database: service_kit::postgres::Settings,
//! }
//!
//! impl Config {
//!     fn read(env: &mut Env) -> Self {
//!         Self { database: service_kit::postgres::Settings::read(env) }
//!     }
//! }
//!
//! async fn start(config: Config, process: process::Process) -> anyhow::Result<()> {
//!     let _pool = service_kit::postgres::connect_lazy(&config.database, "example")?;
//!     process.lifecycle.spawn("worker", async { Ok::<(), anyhow::Error>(()) });
//!     Ok(())
//! }
//!
//! const ABOUT: process::About = process::About {
//!     name: "example",
//!     version: env!("CARGO_PKG_VERSION"),
//!     admin_listen: "[::]:9180",
//!     metrics: &[],
//! };
//!
//! fn main() -> std::process::ExitCode {
//!     process::run(ABOUT, Config::read, start)
//! }
//! ```

// They panic where the reader of the output has gone; `stderr` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod about;
mod admin;
mod arguments;
pub mod auth;
pub mod backoff;
pub mod catalog;
pub mod clock;
mod codes;
pub mod config;
pub mod errors;
pub mod grpc;
mod healthcheck;
pub mod ids;
pub mod lifecycle;
mod listen;
pub mod metrics;
pub mod nats;
pub mod neo4j;
pub mod postgres;
pub mod process;
pub mod readiness;
pub mod shares;
mod stderr;
pub mod telemetry;
pub mod timeout;
pub mod tls;
pub mod trace;

#[cfg(test)]
mod test_certificates;

pub use config::{Env, Secret};
pub use lifecycle::Lifecycle;
pub use readiness::{Latch, Readiness};
pub use timeout::with_timeout;
