//! The projector's process. Everything is in the library.

use std::process::ExitCode;

use service_kit::process::{About, run};

fn main() -> ExitCode {
    let about = About {
        name: "projector",
        version: env!("CARGO_PKG_VERSION"),
        admin_listen: "[::]:9182",
        metrics: projector::metrics::ALL,
    };
    run(about, projector::config::Config::read, projector::app::start)
}
