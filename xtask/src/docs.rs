//! Content of the generated pages. Programs print their settings and metrics, so they must be built.

pub mod configuration;
pub mod deprecations;
pub mod metrics;
pub mod surface;

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use devstack::{process::complete, services::Program};
use serde::de::DeserializeOwned;
use serde_json::Value;

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

/// A text of a JSON object; empty if it is missing.
fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

/// A list of a JSON object; empty if it is missing.
fn list<'a>(of: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    of[key].as_array().into_iter().flatten()
}

/// Name and values of each label of a metric, as `--metrics` prints it.
fn labels(metric: &Value) -> impl Iterator<Item = (&str, Vec<&str>)> {
    let values = |label| list(label, "values").filter_map(Value::as_str).collect();
    list(metric, "labels").map(move |label| (text(label, "name"), values(label)))
}

/// The output of a program for `--settings` or `--metrics`.
fn ask<T: DeserializeOwned>(binaries: &Path, program: Program, question: &str) -> Result<T> {
    let name = program.binary();
    let output = complete(Command::new(binaries.join(name)).arg(question).env_clear())
        .with_context(|| format!("{name} {question} failed; is it built?"))?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("{name} {question} prints no JSON"))
}
