//! The progress of an import, in a small file next to the input.
//!
//! If the input or the database has changed, the import starts over, which is slow but harmless.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::paths::with_suffix;
use crate::files;

/// What must be equal to resume an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Size of the input in bytes.
    pub size: u64,
    /// Last change in nanoseconds since 1970.
    pub modified_nanos: u128,
    /// Address of the service.
    pub command_addr: String,
    /// The arguments that decide which chunks are sent.
    pub arguments: String,
}

impl Identity {
    /// Identity of a file.
    pub fn of(path: &Path, command_addr: &str, arguments: String) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
        Ok(Self {
            size: metadata.len(),
            modified_nanos: modified.unwrap_or(Duration::ZERO).as_nanos(),
            command_addr: command_addr.to_owned(),
            arguments,
        })
    }
}

/// Progress over all runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    pub chunks: u64,
    pub lines: u64,
    pub accepted: u64,
    pub unchanged: u64,
    pub refused: u64,
    /// Refused lines by reason.
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
    /// Length of the file of refused rows; resuming truncates it to this length.
    pub refused_bytes: u64,
    /// Path of that file; empty without refused rows, and in version 0.1.0.
    #[serde(default)]
    pub refused_file: String,
    /// Token of the last write.
    pub written_at: String,
    /// Duration.
    pub elapsed: Duration,
    /// Number of edges left out: their accounts are marked as deleted in the older system.
    #[serde(default)]
    pub left_out: u64,
    /// Number of edges of accounts that the older system does not know.
    #[serde(default)]
    pub unknown: u64,
    /// Id of followgraph's database; empty if the service did not answer.
    #[serde(default)]
    pub database_id: String,
    /// The last edge, if the input is a table.
    #[serde(default)]
    pub mark: Option<TablePlace>,
}

impl Done {
    /// Whether this file has the rows refused so far, or no row was refused.
    pub fn continues_in(&self, refused_file: &str) -> bool {
        [refused_file, ""].contains(&self.refused_file.as_str())
    }
}

/// A place in a table in the order of dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePlace {
    /// Microseconds since 1970, the resolution of PostgreSQL.
    micros: i64,
    pub source: Uuid,
    pub target: Uuid,
}

impl TablePlace {
    /// Start of the year 1, the place of edges without a date.
    const NO_DATE: i64 = -62_135_596_800_000_000;

    pub fn new(created_at: Option<OffsetDateTime>, source: Uuid, target: Uuid) -> Self {
        let micros = created_at.map(|at| at.unix_timestamp_nanos() / 1_000);
        Self { micros: micros.and_then(|m| i64::try_from(m).ok()).unwrap_or(Self::NO_DATE), source, target }
    }

    /// The date; `None` if the file was edited and the date is invalid, which starts over.
    pub fn date(self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.micros) * 1_000).ok()
    }
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    identity: Identity,
    done: Done,
}

const VERSION: u32 = 1;
/// First bytes of the file in every version.
const BEGINNING: &[u8] = b"{\"version\":";

#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    identity: Identity,
}

#[derive(Debug, PartialEq)]
pub enum Found {
    Nothing,
    /// Of another import, or damaged.
    Foreign,
    Resume(Box<Done>),
}

impl File {
    pub fn new(input: &Path, identity: Identity) -> Self {
        Self { path: with_suffix(input, ".progress"), identity }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file. A foreign file is an error, because [`Self::save`] would replace it.
    pub fn load(&self) -> io::Result<Found> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice::<Content>(&bytes) {
            Ok(c) if c.version == VERSION && c.identity == self.identity => {
                Ok(Found::Resume(Box::new(c.done)))
            }
            Err(_) if !bytes.is_empty() && !bytes.starts_with(BEGINNING) => {
                Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is another file"))
            }
            _ => Ok(Found::Foreign),
        }
    }

    /// Replaces the file atomically.
    pub fn save(&self, done: &Done) -> io::Result<()> {
        let content = Content { version: VERSION, identity: self.identity.clone(), done: done.clone() };
        let next = with_suffix(&self.path, ".new");
        fs::write(&next, serde_json::to_vec(&content)?)?;
        fs::rename(&next, &self.path)
    }

    pub fn remove(&self) -> io::Result<()> {
        files::remove(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::testing::Folder;

    fn file(folder: &Folder, content: &str, arguments: &str) -> File {
        let input = folder.path("edges.tsv");
        fs::write(&input, content).unwrap();
        let identity = Identity::of(&input, "127.0.0.1:9080", arguments.to_owned()).unwrap();
        File::new(&input, identity)
    }

    #[test]
    fn an_interrupted_import_resumes() {
        let folder = Folder::new();
        let file = file(&folder, "1\t2\n", "skip");
        assert_eq!(file.path(), folder.path("edges.tsv.progress"));
        assert_eq!(file.load().unwrap(), Found::Nothing);
        let done = Done {
            chunks: 3,
            lines: 3_000,
            accepted: 2_999,
            refused: 1,
            elapsed: Duration::from_millis(1_500),
            ..Done::default()
        };
        file.save(&done).unwrap();
        assert_eq!(file.load().unwrap(), Found::Resume(Box::new(done)));
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.load().unwrap(), Found::Nothing);
    }

    #[test]
    fn refused_rows_continue_in_their_file() {
        let done = Done { refused_file: "/a/refused.tsv".to_owned(), ..Done::default() };
        assert!(done.continues_in("/a/refused.tsv") && !done.continues_in("/b/refused.tsv"));
        assert!(Done::default().continues_in("/b/refused.tsv"), "no row was refused");
    }

    #[test]
    fn another_file_or_other_arguments_start_over() {
        let folder = Folder::new();
        file(&folder, "1\t2\n", "skip").save(&Done::default()).unwrap();
        let longer = file(&folder, "1\t2\n3\t4\n", "skip");
        assert_eq!(longer.load().unwrap(), Found::Foreign);
        longer.save(&Done::default()).unwrap();
        let mut other = longer.clone();
        other.identity.arguments = "fail".to_owned();
        assert_eq!(other.load().unwrap(), Found::Foreign);
    }

    #[test]
    fn a_damaged_file_starts_over() {
        let folder = Folder::new();
        let file = file(&folder, "1\t2\n", "skip");
        fs::write(file.path(), "{\"version\":1").unwrap();
        assert_eq!(file.load().unwrap(), Found::Foreign);
    }

    #[test]
    fn a_foreign_file_is_kept() {
        let folder = Folder::new();
        let file = file(&folder, "1\t2\n", "skip");
        fs::write(file.path(), "mine\n").unwrap();
        assert!(file.load().is_err());
    }
}
