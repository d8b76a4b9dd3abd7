//! The file of refused rows.
//!
//! Owns its form: line, reason, message, then the row itself, separated by tabs, under a header that an import knows.
//! It exists only if a row was refused.
//!
//! Invariant: no file is removed or overwritten that may be of anybody else, or the source of this very import.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::row::Refused;

/// The last columns are those of a row, named so that an import knows a header.
const HEADER: &str = "line\treason\tmessage\tsource_id\ttarget_id\tcreated_at";
/// What the header has, too, where edges may run out.
const EXPIRES_AT: &str = "\texpires_at";

/// Takes refused rows.
pub struct RefusedFile {
    path: PathBuf,
    state: State,
    bytes: u64,
    may_expire: bool,
}

enum State {
    /// There is one of an earlier import of the same input.
    Earlier,
    /// There is none.
    Absent,
    /// It is ours.
    Open(File),
}

impl RefusedFile {
    /// Starts anew, or goes on behind the first `bytes` of an earlier run. A file of
    /// an earlier import stays until this one adds something, be it no rows.
    ///
    /// Tries whether the file can be written: it may be needed only after hours.
    pub fn open(path: PathBuf, bytes: u64, may_expire: bool) -> io::Result<Self> {
        if bytes == 0 {
            let state = match File::open(&path) {
                Ok(ref file) if is_of_an_import(file)? => {
                    OpenOptions::new().append(true).open(&path)?;
                    State::Earlier
                }
                Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is another file")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    OpenOptions::new().write(true).create_new(true).open(&path)?;
                    fs::remove_file(&path)?;
                    State::Absent
                }
                Err(error) => return Err(error),
            };
            return Ok(Self { path, state, bytes, may_expire });
        }
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        // Rows that were written after the last note of progress come again. A
        // shorter file is not made longer: somebody has edited it.
        let bytes = bytes.min(file.metadata()?.len());
        file.set_len(bytes)?;
        Ok(Self { path, state: State::Open(file), bytes, may_expire })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds rows.
    pub fn add(&mut self, rows: &[Refused]) -> io::Result<()> {
        if matches!(self.state, State::Earlier) {
            remove(&self.path)?;
            self.state = State::Absent;
        }
        if rows.is_empty() {
            return Ok(());
        }
        let mut text: String = rows.iter().map(encode).collect();
        if let State::Open(file) = &mut self.state {
            file.write_all(text.as_bytes())?;
        } else {
            let expires_at = if self.may_expire { EXPIRES_AT } else { "" };
            text.insert_str(0, &format!("{HEADER}{expires_at}\n"));
            let mut file = File::create(&self.path)?;
            file.write_all(text.as_bytes())?;
            self.state = State::Open(file);
        }
        self.bytes += text.len() as u64;
        Ok(())
    }
}

fn encode(refused: &Refused) -> String {
    let one_line = |text: &str| text.replace(['\r', '\n'], " ");
    format!(
        "{}\t{}\t{}\t{}\n",
        refused.line,
        refused.reason,
        one_line(&refused.message).replace('\t', " "),
        one_line(&refused.row)
    )
}

/// Whether an import has written it.
fn is_of_an_import(file: &File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(HEADER.len() as u64).read_to_end(&mut start)?;
    Ok(start.is_empty() || start == HEADER.as_bytes())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::testing::Folder;

    fn refused(line: u64) -> Refused {
        Refused {
            line,
            reason: "SELF_EDGE",
            message: "target_id must be\tanother".to_owned(),
            row: "2\t2".to_owned(),
        }
    }

    #[test]
    fn it_exists_only_if_a_row_was_refused() {
        let folder = Folder::new();
        let path = folder.path("refused.tsv");
        let mut file = RefusedFile::open(path.clone(), 0, false).unwrap();
        file.add(&[]).unwrap();
        assert!(!path.exists());
        file.add(&[refused(4)]).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "line\treason\tmessage\tsource_id\ttarget_id\tcreated_at\n\
             4\tSELF_EDGE\ttarget_id must be another\t2\t2\n"
        );
        let mut next = RefusedFile::open(path.clone(), 0, false).unwrap();
        assert!(path.exists(), "an import that fails at once takes nothing away");
        next.add(&[]).unwrap();
        assert!(!path.exists(), "a new import does not keep the rows of an old one");
    }

    #[test]
    fn the_file_of_somebody_else_is_left_alone() {
        let folder = Folder::new();
        let path = folder.path("notes.tsv");
        fs::write(&path, "mine\n").unwrap();
        assert!(RefusedFile::open(path.clone(), 0, false).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n");
        assert!(RefusedFile::open(folder.path("not/there.tsv"), 0, false).is_err(), "found out at once");
    }

    #[test]
    fn where_edges_run_out_the_header_says_so() {
        let folder = Folder::new();
        let path = folder.path("refused.tsv");
        let mut file = RefusedFile::open(path.clone(), 0, true).unwrap();
        file.add(&[refused(4)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("line\treason\tmessage\tsource_id\ttarget_id\tcreated_at\texpires_at\n"));
    }

    #[test]
    fn resuming_cuts_off_what_was_not_noted() {
        let folder = Folder::new();
        let path = folder.path("refused.tsv");
        let mut file = RefusedFile::open(path.clone(), 0, false).unwrap();
        file.add(&[refused(4)]).unwrap();
        let noted = file.bytes();
        file.add(&[refused(5)]).unwrap();
        let mut file = RefusedFile::open(path.clone(), noted, false).unwrap();
        file.add(&[refused(6)]).unwrap();
        let lines: Vec<_> = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|l| l.split('\t').next().unwrap().to_owned())
            .collect();
        assert_eq!(lines, ["line", "4", "6"]);
    }
}
