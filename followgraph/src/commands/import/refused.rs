//! The file of refused rows: line, reason, message and the row itself, separated by tabs, under a header that an import
//! knows. It exists only if a row was refused.
//!
//! Invariant: never removes, overwrites or truncates a foreign file or the input of this import. Devices and pipes are
//! written in place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::row::Refused;
use crate::files;

/// The last columns are those of a row, under the names that an import knows.
const HEADER: &str = "line\treason\tmessage\tsource_id\ttarget_id\tcreated_at";
/// Additional column of edges that may expire.
const EXPIRES_AT: &str = "\texpires_at";

pub struct RefusedFile {
    path: PathBuf,
    state: State,
    bytes: u64,
    may_expire: bool,
}

enum State {
    /// A file of an earlier import of the same input exists.
    Earlier,
    /// No file exists.
    Absent,
    Open(File),
}

impl RefusedFile {
    /// Starts a file, or continues after the first `bytes` of an earlier run. A file of an earlier import is kept until
    /// the first call of [`Self::add`].
    ///
    /// Checks that the file can be written, although the first row may come hours later.
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
        let bytes = truncate(&file, bytes, length)?;
        Ok(Self { path, state: State::Open(file), bytes, may_expire })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn add(&mut self, rows: &[Refused]) -> io::Result<()> {
        if matches!(self.state, State::Earlier) {
            files::remove(&self.path)?;
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

/// Whether an import wrote the file.
fn is_of_an_import(file: &File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(HEADER.len() as u64).read_to_end(&mut start)?;
    Ok(start == HEADER.as_bytes())
}

/// Truncates rows that were written after the last progress, because they are refused again. Returns the new length.
///
/// Truncates only a file that was not edited, in which a row ends at this length. Never extends a file.
fn truncate(file: &File, recorded: u64, length: u64) -> io::Result<u64> {
    if recorded == 0 || recorded >= length {
        return Ok(length);
    }
    let mut last = [0_u8];
    file.read_exact_at(&mut last, recorded - 1)?;
    if last != *b"\n" {
        return Ok(length);
    }
    file.set_len(recorded)?;
    Ok(recorded)
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
    fn the_file_exists_only_if_a_row_was_refused() {
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
    fn a_foreign_file_is_kept() {
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
    fn resuming_without_the_file_starts_one_with_a_header() {
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
    fn an_edited_file_is_not_truncated() {
        let folder = Folder::new();
        let path = folder.path("refused.tsv");
        let mut file = RefusedFile::open(path.clone(), 0, false).unwrap();
        file.add(&[refused(4)]).unwrap();
        let recorded = file.bytes();
        let edited = fs::read_to_string(&path).unwrap().replace("2\t2", "2\t2000");
        fs::write(&path, &edited).unwrap();
        let file = RefusedFile::open(path.clone(), recorded, false).unwrap();
        assert_eq!(file.bytes(), edited.len() as u64);
        assert_eq!(fs::read_to_string(&path).unwrap(), edited);
    }

    #[test]
    fn the_header_has_the_expiry_time() {
        let folder = Folder::new();
        let path = folder.path("refused.tsv");
        let mut file = RefusedFile::open(path.clone(), 0, true).unwrap();
        file.add(&[refused(4)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("line\treason\tmessage\tsource_id\ttarget_id\tcreated_at\texpires_at\n"));
    }

    #[test]
    fn resuming_truncates_rows_after_the_progress() {
        let folder = Folder::new();
        let path = folder.path("refused.tsv");
        let mut file = RefusedFile::open(path.clone(), 0, false).unwrap();
        file.add(&[refused(4)]).unwrap();
        let recorded = file.bytes();
        file.add(&[refused(5)]).unwrap();
        let mut file = RefusedFile::open(path.clone(), recorded, false).unwrap();
        file.add(&[refused(6)]).unwrap();
        let lines: Vec<_> = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|l| l.split('\t').next().unwrap().to_owned())
            .collect();
        assert_eq!(lines, ["line", "4", "6"]);
    }
}
