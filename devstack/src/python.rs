//! Python with packages for scripts of this repository. The cache has a folder for each list of packages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{
    fetch::{Cache, fetch_packages},
    prerequisites::{self, Need},
};

/// A Python that finds the packages of one list.
#[derive(Debug, Clone)]
pub struct Python {
    program: PathBuf,
    packages: PathBuf,
}

impl Python {
    /// Fetches the packages of a `requirements.txt` with hashes unless they are in the cache.
    pub fn with_packages(requirements: &Path) -> Result<Self> {
        prerequisites::require(&[Need::Python])?;
        let cache = Cache::lock()?;
        let program = cache.python()?;
        let list =
            fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
        // Packages with native code depend on the version of Python.
        let version = Command::new(&program).arg("--version").output().context("cannot run python3")?.stdout;
        let key = hex::encode(Sha256::digest([version, list].concat()));
        // Not a virtual environment: it cannot be moved, and the cache renames complete folders.
        let packages = cache.install(&format!("python-packages-{}", &key[..16]), |folder| {
            fetch_packages(requirements, &program, folder)
        })?;
        Ok(Self { program, packages })
    }

    /// A command that runs this Python; the caller adds the script and its arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Python would write bytecode into the clone.
        command.env("PYTHONPATH", &self.packages).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}
