//! Files that only their owner can read: they hold passwords.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Writes `text` to `file` in one step, with mode 0600. Creates the folder if it is missing.
pub fn write(file: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        // Only its owner can read it.
        let mut partial = NamedTempFile::new_in(folder)?;
        partial.write_all(text.as_bytes())?;
        partial.persist(file)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
