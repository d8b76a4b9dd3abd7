//! The query-service process.

use std::process::ExitCode;

use query_service::app;
use query_service::config::Config;
use service_kit::process::{self, About};

const ABOUT: About = About {
    name: "query-service",
    version: env!("CARGO_PKG_VERSION"),
    admin_listen: "[::]:9181",
    metrics: query_service::metrics::ALL,
};

fn main() -> ExitCode {
    process::run(ABOUT, Config::read, app::start)
}
