//! `cargo xtask k8s-check`: prints the report of [`deployment`].

use std::{process::ExitCode, time::Instant};

use anyhow::Result;

use crate::deployment;

/// Runs all checks and prints all problems.
pub fn run() -> Result<ExitCode> {
    let tools = deployment::Tools::install()?;
    let begun = Instant::now();
    let report = deployment::check(&tools)?;
    for line in &report.checked {
        eprintln!("checked: {line}");
    }
    for problem in &report.problems {
        eprintln!("problem: {problem}");
    }
    let count = report.problems.len();
    eprintln!("{count} problems, {:.1} s", begun.elapsed().as_secs_f64());
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
