//! The file of refused rows.
//!
//! Owns its form: line, reason, message, then the row itself, separated by tabs.
//! It exists only if a row was refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::row::Refused;

/// The last columns are those of a row, named so that an import knows a header.
const HEADER: &str = "line\treason\tmessage\tsource_id\ttarget_id\tcreated_at\n";

/// Takes refused rows.
pub struct RefusedFile {
    path: PathBuf,
    state: State,
    bytes: u64,
}

enum State {
    /// A file may be there, of another import.
    Foreign,
    /// There is none.
    Absent,
    /// It is ours.
    Open(File),
}

impl RefusedFile {
    /// Starts anew, or goes on behind the first `bytes` of an earlier run. A file of
    /// another import stays until this one adds something, be it no rows.
    pub fn open(path: PathBuf, bytes: u64) -> io::Result<Self> {
        if bytes == 0 {
            return Ok(Self { path, state: State::Foreign, bytes });
        }
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        // Rows that were written after the last note of progress come again. A
        // shorter file is not made longer: somebody has edited it.
        let bytes = bytes.min(file.metadata()?.len());
        file.set_len(bytes)?;
        Ok(Self { path, state: State::Open(file), bytes })
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
        if matches!(self.state, State::Foreign) {
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
            text.insert_str(0, HEADER);
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

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Folder;
    use super::*;

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
        let mut file = RefusedFile::open(path.clone(), 0).unwrap();
        file.add(&[]).unwrap();
        assert!(!path.exists());
        file.add(&[refused(4)]).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "line\treason\tmessage\tsource_id\ttarget_id\tcreated_at\n\
             4\tSELF_EDGE\ttarget_id must be another\t2\t2\n"
        );
        let mut next = RefusedFile::open(path.clone(), 0).unwrap();
        assert!(path.exists(), "an import that fails at once takes nothing away");
        next.add(&[]).unwrap();
        assert!(!path.exists(), "a new import does not keep the rows of an old one");
    }

    #[test]
    fn resuming_cuts_off_what_was_not_noted() {
        let folder = Folder::new();
        let path = folder.path("refused.tsv");
        let mut file = RefusedFile::open(path.clone(), 0).unwrap();
        file.add(&[refused(4)]).unwrap();
        let noted = file.bytes();
        file.add(&[refused(5)]).unwrap();
        let mut file = RefusedFile::open(path.clone(), noted).unwrap();
        file.add(&[refused(6)]).unwrap();
        let lines: Vec<_> = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|l| l.split('\t').next().unwrap().to_owned())
            .collect();
        assert_eq!(lines, ["line", "4", "6"]);
    }
}
