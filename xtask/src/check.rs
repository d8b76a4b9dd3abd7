//! `cargo xtask check`: static checks, fast ones first. All of them run even if one fails.

use std::{
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::Result;
use devstack::workspace;

use crate::{checkers::Checkers, child, layers, monitoring, signals::Interrupt};

/// Contract of the last release, for `buf breaking`.
const RELEASED: &str = "tests/released/0.1.0/contract.binpb";

/// Runs all checks and prints the names of those that failed.
pub fn run(interrupt: &Interrupt) -> Result<ExitCode> {
    let tools = Checkers::install()?;
    let checks = [
        ("format", cargo(&["fmt", "--all", "--check"])),
        ("protocol", program(&tools.buf, &["lint", "proto"])),
        ("protocol against the release", program(&tools.buf, &["breaking", "proto", "--against", RELEASED])),
        ("unused dependencies", program(&tools.cargo_machete, &[])),
        (
            "dependencies",
            program(
                &tools.cargo_deny,
                &["--workspace", "check", "-A", "unused-wrapper", "bans", "licenses", "sources"],
            ),
        ),
        ("clippy", cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])),
        ("documentation", documentation()),
    ];
    let mut failed = Vec::new();
    let ours = [("layers", layers::check as fn() -> _), ("alerts and dashboards", monitoring::check)];
    for (name, check) in ours {
        eprintln!("checking: {name}");
        if let Err(error) = check() {
            eprintln!("  {error:#}");
            failed.push(name);
        }
    }
    for (name, command) in checks {
        eprintln!("checking: {name}");
        let begun = Instant::now();
        let status = child::status(command, interrupt)?;
        eprintln!("  {status}, {:.1} s", begun.elapsed().as_secs_f64());
        if !status.success() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("failed: {}; see their output above", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(arguments);
    command
}

fn documentation() -> Command {
    let mut command = cargo(&["doc", "--no-deps", "--workspace", "--quiet", "--keep-going"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}

fn program(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace::root());
    command
}
