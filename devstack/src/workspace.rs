//! Paths of the clone, its build output and its development data, and Cargo.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::complete;

/// The root of the clone that this program was built from.
pub fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

/// The text of a file of the clone.
pub fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = root().join(path);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The text of all Rust files in a folder of the clone, by their paths from this folder.
pub fn sources(folder: impl AsRef<Path>) -> Result<BTreeMap<PathBuf, String>> {
    let root = root().join(folder);
    let mut sources = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let place = root.join(&folder);
        for entry in fs::read_dir(&place).with_context(|| format!("cannot read {}", place.display()))? {
            let path = folder.join(entry?.file_name());
            if root.join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.insert(path.clone(), read(root.join(path))?);
            }
        }
    }
    Ok(sources)
}

/// The folder of development data, all of it replaceable. `FOLLOWGRAPH_DEV` sets another one, for a second stack at a
/// time.
pub fn dev() -> PathBuf {
    match env::var_os("FOLLOWGRAPH_DEV") {
        Some(folder) => root().join(folder),
        None => root().join(".dev"),
    }
}

/// Cargo's target folder, looked up once.
pub fn target() -> PathBuf {
    static TARGET: LazyLock<PathBuf> = LazyLock::new(|| {
        target_of(cargo()).unwrap_or_else(|error| {
            let usual = root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
            eprintln!("cannot get the target folder from Cargo, assuming {}: {error:#}", usual.display());
            usual
        })
    });
    TARGET.clone()
}

/// Asks Cargo, because its configuration files may set the folder.
fn target_of(mut cargo: Command) -> Result<PathBuf> {
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let output = complete(&mut cargo)?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cannot read the output of cargo metadata")?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata has no target_directory")?;
    Ok(PathBuf::from(folder))
}

/// Cargo, at the root of the clone; the one that runs this process, if any.
///
/// Without the variables that Cargo sets for this package: build scripts of dependencies watch them, so a Cargo that
/// xtask runs and one that a person runs would rebuild what the other one has built.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command.current_dir(root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_cargo_says_where_it_builds() {
        let mut command = cargo();
        // What `build.target-dir` in a file would be.
        command.env_remove("CARGO_TARGET_DIR").env("CARGO_BUILD_TARGET_DIR", "/elsewhere/built");
        assert_eq!(target_of(command).expect("an answer"), PathBuf::from("/elsewhere/built"));
        assert!(target_of(Command::new("false")).is_err());
    }
}
