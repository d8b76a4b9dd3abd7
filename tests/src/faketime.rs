//! A PostgreSQL whose clock jumps while it runs.

use std::fs;
use std::path::PathBuf;

use tokio::task::block_in_place;
use xtask::Server as _;

use crate::own::Own;

/// The clock of a set's PostgreSQL.
#[derive(Debug)]
pub struct FakeTime {
    file: PathBuf,
}

impl FakeTime {
    /// Starts the PostgreSQL of a set again, with a clock that can be set.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn of_postgres(own: &mut Own) -> Self {
        let file = block_in_place(|| {
            let postgres = &mut own.servers.postgres;
            postgres.stop().expect("PostgreSQL stops");
            let file = postgres.fake_time().expect("libfaketime is installed");
            postgres.start_again().expect("PostgreSQL starts");
            file
        });
        own.wait_ready();
        Self { file }
    }

    /// Lets the clock differ from the machine's, within a second: by `+0`, `-3d` or `+90s`.
    ///
    /// # Panics
    /// Where the file cannot be written.
    pub fn set(&self, difference: &str) {
        // Renamed: a reader never sees half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, difference).and_then(|()| fs::rename(&new, &self.file)).expect("a file of ours");
    }
}
