//! Pages of `docs`, and one manifest, that are made of the code, so that they cannot grow old.
//!
//! Owns: which pages there are, writing them, and telling which are stale. What stands on one is the matter of
//! its own module. It must not know the code: the programs tell what is in them.
//!
//! What can go wrong: a program that is not built. To add a page, add it to [`PAGES`].

mod configuration;
pub mod metrics;
mod surface;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use devstack::{services::Program, workspace};
use serde::de::DeserializeOwned;

use crate::monitoring;

/// A page.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Where it is, from the root of the clone.
    pub path: &'static str,
    /// Makes its text, given where the binaries are.
    pub render: fn(&Path) -> Result<String>,
}

/// All of them, but those of [`surface`].
const PAGES: &[Page] = &[
    Page { path: "docs/configuration.md", render: configuration::render },
    Page { path: metrics::PATH, render: metrics::render },
    // Made of another file, so the binaries do not matter.
    Page { path: monitoring::PROMETHEUS_RULE_PATH, render: |_| monitoring::prometheus_rule() },
];

/// Writes all pages; answers those that have changed.
pub fn write(binaries: &Path) -> Result<Vec<&'static str>> {
    let mut written = Vec::new();
    for (page, text) in changed(binaries)? {
        let file = place(page);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        written.push(page.path);
    }
    Ok(written)
}

fn changed(binaries: &Path) -> Result<Vec<(&'static Page, String)>> {
    let mut changed = Vec::new();
    for page in PAGES.iter().chain(&surface::PAGES) {
        let text = (page.render)(binaries).with_context(|| format!("cannot make {}", page.path))?;
        // A page that is not there yet is as good as an empty one.
        if fs::read_to_string(place(page)).unwrap_or_default() != text {
            changed.push((page, text));
        }
    }
    Ok(changed)
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

fn place(page: &Page) -> PathBuf {
    workspace::root().join(page.path)
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn generated_pages_are_those_of_the_code() {
        let binaries = env::var_os("FOLLOWGRAPH_TEST_BIN_DIR");
        let binaries = binaries.expect("this test asks the services: run it with `cargo xtask test`");
        let changed = changed(Path::new(&binaries)).expect("the pages can be made");
        let stale: Vec<_> = changed.into_iter().map(|(page, _)| page.path).collect();
        assert!(stale.is_empty(), "run `cargo xtask docs`: {stale:?} are not up to date");
    }
}
