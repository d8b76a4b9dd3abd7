//! Content of the generated pages. Programs print their settings and metrics, so they must be built.

pub mod configuration;
pub mod deprecations;
pub mod metrics;
pub mod surface;

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use devstack::services::Program;
use serde::de::DeserializeOwned;

/// A generated page.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Path from the root of the clone.
    pub path: &'static str,
    /// Renders its text, given the folder of the binaries.
    pub render: fn(&Path) -> Result<String>,
}

/// The services in the order of the pages.
const SERVICES: [Program; 3] = [Program::Command, Program::Query, Program::Projector];

/// The older names of a setting, as `--settings` prints it.
fn older_names(setting: &serde_json::Value) -> Vec<&str> {
    let formerly = setting["formerly"].as_array().into_iter().flatten();
    formerly.filter_map(|former| former["name"].as_str()).collect()
}

/// The output of a program for `--settings` or `--metrics`.
fn ask<T: DeserializeOwned>(binaries: &Path, program: Program, question: &str) -> Result<T> {
    let name = program.binary();
    let output = Command::new(binaries.join(name))
        .arg(question)
        .env_clear()
        .output()
        .with_context(|| format!("cannot run {name}; is it built?"))?;
    ensure!(output.status.success(), "{name} {question} failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("{name} {question} prints no JSON"))
}
