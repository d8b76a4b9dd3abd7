//! What stands on the pages that are made of the code. The programs tell what is in them, so they have to be built.

pub mod configuration;
pub mod deprecations;
pub mod metrics;
pub mod surface;

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use devstack::services::Program;
use serde::de::DeserializeOwned;

/// A page.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Where it is, from the root of the clone.
    pub path: &'static str,
    /// Makes its text, given where the binaries are.
    pub render: fn(&Path) -> Result<String>,
}

/// The older names of a setting, as `--settings` prints it.
fn older_names(setting: &serde_json::Value) -> Vec<&str> {
    let formerly = setting["formerly"].as_array().into_iter().flatten();
    formerly.filter_map(|former| former["name"].as_str()).collect()
}

/// The answer of a program to `--settings` or `--metrics`.
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
