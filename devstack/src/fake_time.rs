//! A clock of its own for one program: libfaketime, loaded into it.
//!
//! Only the time of day jumps, as when NTP corrects a host or a virtual machine is resumed. Monotonic time stays the
//! machine's: programs tell a jump by it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::env_file::Env;
use crate::prerequisites::{self, Need};

/// Whether the program has threads. libfaketime has a build for each kind: the one takes a lock, which is no good in the
/// signal handlers of PostgreSQL; the other one keeps what it reads in static variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One thread, as in each process of PostgreSQL.
    One,
    /// Several.
    Many,
}

/// The clock of a program that is started with [`Self::env`].
#[derive(Clone, Debug)]
pub struct FakeTime {
    library: PathBuf,
    /// Holds the difference from the machine's clock.
    file: PathBuf,
}

impl FakeTime {
    /// A clock that is the machine's until [`Self::set`]. The file says by how much it differs.
    pub fn new(file: PathBuf, threads: Threads) -> Result<Self> {
        prerequisites::require(&[Need::FakeTime])?;
        let library = prerequisites::faketime().context("libfaketime is not where it was installed")?;
        let library = match threads {
            Threads::One => library,
            Threads::Many => library.with_file_name("libfaketimeMT.so.1"),
        };
        let clock = Self { library, file };
        clock.set("+0")?;
        Ok(clock)
    }

    /// Lets the clock differ from the machine's at once: by `+0`, `-3d`, `+2h` or `+90s`.
    pub fn set(&self, difference: &str) -> Result<()> {
        // Renamed: a reader never sees half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, difference)
            .and_then(|()| fs::rename(&new, &self.file))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// What the program is started with.
    pub fn env(&self) -> Env {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        Env::default()
            .with("LD_PRELOAD", path(&self.library))
            .with("FAKETIME_TIMESTAMP_FILE", path(&self.file))
            .with("FAKETIME_NO_CACHE", "1")
            // Without shared memory nothing is left behind by a SIGKILL.
            .with("FAKETIME_DISABLE_SHM", "1")
            // The second name is that of newer versions.
            .with("DONT_FAKE_MONOTONIC", "1")
            .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// Removes the file.
    pub fn forget(&self) {
        let _ = fs::remove_file(&self.file);
    }
}
