//! Starts the process; see the library for what it does.

use std::process::ExitCode;

use command_service::{app, config::Config};
use service_kit::process::{self, About};

const ABOUT: About = About {
    name: "command-service",
    version: env!("CARGO_PKG_VERSION"),
    admin_listen: "[::]:9180",
    metrics: command_service::metrics::ALL,
};

fn main() -> ExitCode {
    process::run(ABOUT, Config::read, app::start)
}
