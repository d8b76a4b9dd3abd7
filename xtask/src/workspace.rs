//! Where things are: the clone, its build output, its development data.
//!
//! Owns: paths. It must not create anything.

use std::{env, path::PathBuf, process::Command};

/// The root of the clone this program was built from.
pub fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

/// Where development data lives; nothing in it is precious. `FOLLOWGRAPH_DEV` moves it, for a second
/// stack beside the first.
pub fn dev() -> PathBuf {
    match env::var_os("FOLLOWGRAPH_DEV") {
        Some(folder) => root().join(folder),
        None => root().join(".dev"),
    }
}

/// Cargo's build output.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Cargo itself, the one that runs us if any, at the root of the clone.
///
/// Without what cargo told us about our own package: build scripts of dependencies watch such variables, so a
/// cargo that is run by us would build them anew after one that was not, and the other way round.
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
