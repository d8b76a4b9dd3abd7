//! A clock of its own for one program, with libfaketime.
//!
//! Only the time of day jumps, as when NTP corrects a host or a virtual machine resumes. Monotonic time is the machine's:
//! programs detect a jump with it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::env_file::Env;
use crate::prerequisites::{self, Need};

/// Whether the program has threads, which decides on the build of libfaketime: one takes a lock, which may block in the
/// signal handlers of PostgreSQL; the other one uses static variables.
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
    /// Holds the offset from the machine's clock.
    file: PathBuf,
}

impl FakeTime {
    /// A clock that equals the machine's until [`Self::set`]. `file` holds the offset.
    pub fn new(file: PathBuf, threads: Threads) -> Result<Self> {
        prerequisites::require(&[Need::FakeTime])?;
        let library = prerequisites::faketime().context("libfaketime is not in /usr/lib/*/faketime")?;
        let library = match threads {
            Threads::One => library,
            Threads::Many => library.with_file_name("libfaketimeMT.so.1"),
        };
        let clock = Self { library, file };
        clock.set("+0")?;
        Ok(clock)
    }

    /// Sets the offset from the machine's clock: `+0`, `-3d`, `+2h` or `+90s`. It takes effect at once.
    pub fn set(&self, offset: &str) -> Result<()> {
        // Renamed, so that the program never reads half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, offset)
            .and_then(|()| fs::rename(&new, &self.file))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// Environment of the program.
    pub fn env(&self) -> Env {
        Env::default()
            .with_path("LD_PRELOAD", &self.library)
            .with_path("FAKETIME_TIMESTAMP_FILE", &self.file)
            .with("FAKETIME_NO_CACHE", "1")
            // Shared memory would remain after a SIGKILL.
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
