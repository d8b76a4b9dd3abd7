//! The write side's process. What it does is in the library; this file only starts it.

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
