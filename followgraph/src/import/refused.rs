//! The file of refused rows.
//!
//! Owns its form: line, reason, message, then the row itself, separated by tabs, under a header that an import knows.
//! It exists only if a row was refused.
//!
//! Invariant: no file is removed, overwritten or cut that may be of anybody else, or the source of this very import. A
//! device or a pipe is written to as it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::row::Refused;
use crate::files;

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
    /// Rows are appended to it.
    Open(File),
}

impl RefusedFile {
    /// Starts anew, or goes on behind the first `bytes` of an earlier run. A file of
    /// an earlier import stays until this one adds something, be it no rows.
    ///
    /// Tries whether the file can be written: it may be needed only after hours.
    pub fn open(path: PathBuf, bytes: u64, may_expire: bool) -> io::Result<Self> {
        if let Some(file) = files::in_place(&path)? {
            return Ok(Self { path, state: State::Open(file), bytes, may_expire });
        }
        let file = match OpenOptions::new().read(true).append(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                OpenOptions::new().write(true).create_new(true).open(&path)?;
                fs::remove_file(&path)?;
                return Ok(Self { path, state: State::Absent, bytes: 0, may_expire });
            }
            opened => opened?,
        };
        let length = file.metadata()?.len();
        if length > 0 && !is_of_an_import(&file)? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is another file"));
        }
        if length > 0 && bytes == 0 {
            return Ok(Self { path, state: State::Earlier, bytes, may_expire });
        }
        let bytes = cut(&file, bytes, length)?;
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
        let mut text = String::new();
        if self.bytes == 0 {
            let expires_at = if self.may_expire { EXPIRES_AT } else { "" };
            text.push_str(&format!("{HEADER}{expires_at}\n"));
        }
        text.extend(rows.iter().map(encode));
        if matches!(self.state, State::Absent) {
            self.state = State::Open(OpenOptions::new().append(true).create_new(true).open(&self.path)?);
        }
        if let State::Open(file) = &mut self.state {
            file.write_all(text.as_bytes())?;
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
    Ok(start == HEADER.as_bytes())
}

/// Cuts off rows that were written after the last note of progress, for they come again. Answers the new length.
///
/// Only an unedited file is cut: in it, a row ends at the noted length. A shorter file is not extended.
fn cut(file: &File, noted: u64, length: u64) -> io::Result<u64> {
    if noted == 0 || noted >= length {
        return Ok(length);
    }
    let mut last = [0_u8];
    file.read_exact_at(&mut last, noted - 1)?;
    if last != *b"\n" {
        return Ok(length);
    }
    file.set_len(noted)?;
    Ok(noted)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt as _;

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
        assert!(RefusedFile::open(path.clone(), 2, false).is_err(), "nor is it cut on resuming");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n");
        assert!(RefusedFile::open(folder.path("not/there.tsv"), 0, false).is_err(), "found out at once");
    }

    #[test]
    fn a_pipe_is_written_and_not_replaced() {
        let folder = Folder::new();
        let pipe = folder.pipe("refused");
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::read_to_string(pipe))
        };
        let mut file = RefusedFile::open(pipe.clone(), 0, false).unwrap();
        file.add(&[]).unwrap();
        file.add(&[refused(4)]).unwrap();
        file.add(&[refused(5)]).unwrap();
        drop(file);
        let text = reader.join().unwrap().unwrap();
        assert!(text.starts_with(HEADER) && text.lines().count() == 3, "{text}");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }

    #[test]
    fn resuming_without_the_earlier_file_begins_one_with_a_header() {
        let folder = Folder::new();
        for before in [None, Some("")] {
            let path = folder.path("refused.tsv");
            if let Some(text) = before {
                fs::write(&path, text).unwrap();
            }
            let mut file = RefusedFile::open(path.clone(), 100, false).unwrap();
            file.add(&[refused(6)]).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with(HEADER) && text.len() as u64 == file.bytes(), "{text}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn an_edited_file_is_not_cut() {
        let folder = Folder::new();
        let path = folder.path("refused.tsv");
        let mut file = RefusedFile::open(path.clone(), 0, false).unwrap();
        file.add(&[refused(4)]).unwrap();
        let noted = file.bytes();
        let edited = fs::read_to_string(&path).unwrap().replace("2\t2", "2\t2000");
        fs::write(&path, &edited).unwrap();
        let file = RefusedFile::open(path.clone(), noted, false).unwrap();
        assert_eq!(file.bytes(), edited.len() as u64);
        assert_eq!(fs::read_to_string(&path).unwrap(), edited);
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
