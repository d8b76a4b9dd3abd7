//! How far an import has come, in a small file beside the input.
//!
//! Owns the file's form and the question whether it belongs to this import. What
//! can go wrong: the input or the database is another one by now; then the import
//! starts over, which is slow and does no harm.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// What must be the same for an import to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Size of the input in bytes.
    pub size: u64,
    /// When it was last changed, in nanoseconds since 1970.
    pub modified_nanos: u128,
    /// Whom it goes to.
    pub command_addr: String,
    /// The arguments that decide what is sent, and in which order.
    pub arguments: String,
}

impl Identity {
    /// Of a file.
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

/// What was done so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Chunks that were answered, all from the first on.
    pub chunks: u64,
    /// Lines in them.
    pub lines: u64,
    /// Edges that were added.
    pub accepted: u64,
    /// Edges that existed.
    pub unchanged: u64,
    /// Lines that were refused.
    pub refused: u64,
    /// How many of them for which reason.
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
    /// Length of the file of refused rows; what is behind it is cut off on resuming.
    pub refused_bytes: u64,
    /// Which file that is, if it has rows; empty in notes of 0.1.0.
    #[serde(default)]
    pub refused_file: String,
    /// The newest token.
    pub written_at: String,
    /// Time spent, over all runs.
    pub elapsed: Duration,
    /// Lines that were left out: edges of deleted accounts of the older system.
    #[serde(default)]
    pub left_out: u64,
    /// Edges of accounts that the older system does not know.
    #[serde(default)]
    pub unknown: u64,
    /// The database that it went to; empty where the service did not tell.
    #[serde(default)]
    pub database_id: String,
    /// The last edge, where the input is a table and has no lines.
    #[serde(default)]
    pub mark: Option<Mark>,
}

impl Done {
    /// True if this file has the rows that were refused so far, or if none was.
    pub fn goes_on_in(&self, refused_file: &str) -> bool {
        [refused_file, ""].contains(&self.refused_file.as_str())
    }
}

/// A place in a table that is read in the order of dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Microseconds since 1970, as exact as PostgreSQL keeps them.
    micros: i64,
    /// Where the edge starts.
    pub source: Uuid,
    /// Where it ends.
    pub target: Uuid,
}

impl Mark {
    /// The beginning of the year 1, where rows without a date are.
    const NO_DATE: i64 = -62_135_596_800_000_000;

    /// The place of an edge.
    pub fn new(created_at: Option<OffsetDateTime>, source: Uuid, target: Uuid) -> Self {
        let micros = created_at.map(|at| at.unix_timestamp_nanos() / 1_000);
        Self { micros: micros.and_then(|m| i64::try_from(m).ok()).unwrap_or(Self::NO_DATE), source, target }
    }

    /// The date; none if somebody has edited it into nonsense, which starts over.
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
/// What every version of it begins with.
const BEGINNING: &[u8] = b"{\"version\":";

/// The file.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    identity: Identity,
}

/// What the file says.
#[derive(Debug, PartialEq)]
pub enum Found {
    /// There is none.
    Nothing,
    /// It is of another import, or cannot be read.
    Foreign,
    /// Go on from here.
    Resume(Box<Done>),
}

impl File {
    /// The file of an input.
    pub fn new(input: &Path, identity: Identity) -> Self {
        Self { path: super::beside(input, ".progress"), identity }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it. Something else under its name is an error: [`Self::save`] would replace it.
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

    /// Replaces it in one step, so that a kill leaves the old one or the new one.
    pub fn save(&self, done: &Done) -> io::Result<()> {
        let content = Content { version: VERSION, identity: self.identity.clone(), done: done.clone() };
        let next = super::beside(&self.path, ".new");
        let mut file = fs::File::create(&next)?;
        file.write_all(&serde_json::to_vec(&content)?)?;
        drop(file);
        fs::rename(&next, &self.path)
    }

    /// Removes it; the import is over.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
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
    fn an_interrupted_import_goes_on() {
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
    fn refused_rows_go_on_in_their_file_only() {
        let done = Done { refused_file: "/a/refused.tsv".to_owned(), ..Done::default() };
        assert!(done.goes_on_in("/a/refused.tsv") && !done.goes_on_in("/b/refused.tsv"));
        assert!(Done::default().goes_on_in("/b/refused.tsv"), "no row was refused");
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
    fn the_file_of_somebody_else_is_left_alone() {
        let folder = Folder::new();
        let file = file(&folder, "1\t2\n", "skip");
        fs::write(file.path(), "mine\n").unwrap();
        assert!(file.load().is_err());
    }
}
