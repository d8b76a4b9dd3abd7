//! Files whose locks keep processes apart.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
};

use anyhow::{Context, Result};

/// Opens a file to lock, and creates it first if it is missing. Closing it ends the lock, so a process that is killed
/// leaves none.
pub fn open(path: &Path) -> Result<File> {
    let open = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        OpenOptions::new().create(true).truncate(false).write(true).open(path)
    };
    open().with_context(|| format!("cannot open {}", path.display()))
}
