//! Where things are: the clone, its build output, its development data.
//!
//! Owns: paths. It must not create anything.

use std::{env, path::PathBuf};

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

/// Cargo itself: the one that runs us, if any.
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
