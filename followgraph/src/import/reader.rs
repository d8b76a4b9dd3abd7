//! From a file or stdin to lines: gzip and the order. [`rows`] has what the text looks like.
//!
//! Everything here blocks, so it runs on a thread of its own.

mod rows;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use proto::graph::v1::EdgeKind;

use super::header;
use super::row::Line;
use crate::args::{ColumnNumbers, Delimited};
use crate::text;

/// Raise it when the same text gives other rows: notes of progress count rows, and those of another version start over.
pub const VERSION: u32 = 2;
const BUFFER: usize = 1 << 16;
/// If that many rows are refused and none before them is an edge, the file is not what it was taken for. The rows are in
/// memory by then, for a date in the first edge would put them in another order.
const REFUSED_AT_FIRST: usize = 10_000;

/// The input could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be read on; a gzip file may be cut off.
    #[error("cannot read line {line} of the input")]
    Read {
        /// Which line, from 1.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is text, but no UTF-8.
    #[error("the input is {0}: write it as UTF-8 (iconv -f {0} -t UTF-8)")]
    Encoding(&'static str),
    /// Its lines end in a way that hides rows.
    #[error("line {line}: {}", text::CR_ALONE)]
    CrAlone {
        /// Which line, from 1.
        line: u64,
    },
    /// It cannot be told where a row ends.
    #[error(
        "line {line}: a quote is not closed within {} lines; write one that belongs to the text twice",
        rows::LONGEST_ROW
    )]
    OpenQuote {
        /// The line in which the row begins, from 1.
        line: u64,
    },
    /// The header says something that is not understood.
    #[error("line {line}: {mistake}; {}", header::ADVICE)]
    Header {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        mistake: header::Mistake,
    },
    /// The rows are of something else.
    #[error("none of the first {rows} rows is an edge, nothing was sent; line {line}: {message}")]
    NoEdges {
        /// How many there are.
        rows: usize,
        /// The first line.
        line: u64,
        /// Why it is refused.
        message: String,
    },
}

/// Lines in the order in which they are to be imported.
pub type Lines = Box<dyn Iterator<Item = Result<Line, Error>> + Send>;

/// How much there is, as far as it is known before the end.
#[derive(Clone, Debug)]
pub enum Total {
    /// That many lines.
    Lines(u64),
    /// As many as [`count`] finds in this file, a regular one.
    Uncounted(PathBuf),
    /// Not known: a pipe.
    Unknown,
}

/// An input that is ready to be imported.
pub struct Input {
    /// The lines.
    pub lines: Lines,
    /// How much there is.
    pub total: Total,
    /// How the header was read, if that is worth a word.
    pub words: Option<String>,
}

/// What an input looks like.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// How columns are separated, if it was said.
    pub delimited: Option<Delimited>,
    /// Which columns are which, if it was said.
    pub columns: Option<ColumnNumbers>,
    /// What the edges mean.
    pub kind: EdgeKind,
}

/// Opens an input. If its first row has a date, and unless `keep_order`, all of it
/// is read and sorted by date (rows that are refused and have none come first, edges
/// without a date last, equal dates in the order of the file).
pub fn open(path: &Path, form: Form, keep_order: bool) -> Result<Input, Error> {
    let (raw, total): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
        (Box::new(io::stdin()), Total::Unknown)
    } else {
        let file = File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
        // Who counts the lines of a pipe takes them from the import.
        let regular = file.metadata().is_ok_and(|found| found.is_file());
        let total = if regular { Total::Uncounted(path.to_owned()) } else { Total::Unknown };
        (Box::new(file), total)
    };
    let form = Form { delimited: form.delimited.or_else(|| by_name(path)), ..form };
    let (lines, words) = rows::lines(raw, form)?;
    let input = Input { lines, total, words };
    if keep_order { Ok(input) } else { sort(input) }
}

/// Counts the lines of a file: quicker than making rows of them, and good enough to
/// tell how much is left.
pub fn count(path: &Path) -> io::Result<u64> {
    let mut plain = unpacked(Box::new(File::open(path)?))?;
    let mut buffer = vec![0; BUFFER];
    let mut lines = 0;
    loop {
        let n = plain.read(&mut buffer)?;
        if n == 0 {
            return Ok(lines);
        }
        lines += buffer[..n].iter().filter(|b| **b == b'\n').count() as u64;
    }
}

fn sort(input: Input) -> Result<Input, Error> {
    let Input { mut lines, total, words } = input;
    let mut seen = Vec::new();
    for line in lines.by_ref() {
        let line = line?;
        let dated = matches!(&line, Line::Edge(row) if row.created_at.is_some());
        let undated = matches!(&line, Line::Edge(row) if row.created_at.is_none());
        seen.push(line);
        if undated {
            let lines = Box::new(seen.into_iter().map(Ok).chain(lines));
            return Ok(Input { lines, total, words });
        }
        if dated {
            break;
        }
        if let (REFUSED_AT_FIRST.., Some(Line::Refused(first))) = (seen.len(), seen.first()) {
            let message = first.message.clone();
            return Err(Error::NoEdges { rows: seen.len(), line: first.line, message });
        }
    }
    for line in lines {
        seen.push(line?);
    }
    seen.sort_by_key(|line| match line {
        Line::Refused(_) => (0, None),
        Line::Edge(row) if row.created_at.is_some() => (1, row.created_at),
        Line::Edge(_) => (2, None),
    });
    let total = Total::Lines(seen.len() as u64);
    Ok(Input { total, lines: Box::new(seen.into_iter().map(Ok)), words })
}

/// Unpacks gzip, which is known by its first bytes, whatever the name says.
fn unpacked(mut raw: Box<dyn Read + Send>) -> io::Result<Box<dyn BufRead + Send>> {
    let mut magic = Vec::new();
    raw.by_ref().take(2).read_to_end(&mut magic)?;
    let gzip = magic == [0x1f, 0x8b];
    let whole = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(raw));
    if gzip {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(whole))));
    }
    Ok(Box::new(whole))
}

fn by_name(path: &Path) -> Option<Delimited> {
    let name = path.to_string_lossy().to_lowercase();
    match name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.') {
        Some((_, "tsv" | "tab")) => Some(Delimited::Tsv),
        Some((_, "csv")) => Some(Delimited::Csv),
        _ => None,
    }
}

#[cfg(test)]
mod testing {
    //! Rows as texts.

    use std::io::Cursor;

    use proto::graph::v1::EdgeKind;

    use super::{Delimited, Error, Form, Line, Lines, rows};

    /// A form that says nothing.
    pub const FORM: Form = Form { delimited: None, columns: None, kind: EdgeKind::Follow };

    /// The rows of an input; the error alone if its first row is one.
    pub fn read(bytes: &[u8], delimited: Option<Delimited>) -> Vec<String> {
        match rows::lines(Box::new(Cursor::new(bytes.to_vec())), Form { delimited, ..FORM }) {
            Ok((lines, _)) => shown(lines),
            Err(error) => vec![format!("error: {error}")],
        }
    }

    /// Each line in short.
    pub fn shown(lines: Lines) -> Vec<String> {
        let show = |line: Result<Line, Error>| match line {
            Ok(Line::Edge(row)) => format!("{} {}->{}", row.line, row.source, row.target),
            Ok(Line::Refused(refused)) => format!("{} {}", refused.line, refused.reason),
            Err(error) => format!("error: {error}"),
        };
        lines.map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::rows::lines;
    use super::testing::{FORM, read, shown};
    use super::*;
    use crate::files::testing::Folder;

    fn gzip(text: &str) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::default());
        gz.write_all(text.as_bytes()).unwrap();
        gz.finish().unwrap()
    }

    #[test]
    fn gzip_is_known_by_its_content_and_may_have_members() {
        let both = [gzip("1\t2\n"), gzip("3\t4\n")].concat();
        assert_eq!(read(&both, None), ["1 1->2", "2 3->4"]);
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error_and_not_an_end() {
        let whole = gzip(&"1\t2\n".repeat(100));
        let cut = &whole[..whole.len() - 9];
        let last = read(cut, Some(Delimited::Tsv)).pop().unwrap();
        assert!(last.starts_with("error: cannot read line"), "{last}");
    }

    #[test]
    fn a_file_without_edges_is_refused_as_a_whole() {
        let text = "1\t2\tnever\n".repeat(REFUSED_AT_FIRST + 1);
        let (lines, words) = lines(Box::new(Cursor::new(text.into_bytes())), FORM).unwrap();
        let sorted = sort(Input { lines, total: Total::Unknown, words });
        let told = sorted.err().expect("no edges").to_string();
        assert!(told.contains("nothing was sent; line 1: created_at must be a date"), "{told}");
    }

    #[test]
    fn the_lines_of_a_pipe_are_not_counted() {
        let folder = Folder::new();
        let pipe = folder.pipe("edges.tsv");
        let writer = {
            let pipe = pipe.clone();
            std::thread::spawn(move || std::fs::write(pipe, "1\t2\n3\t4\n"))
        };
        let input = open(&pipe, FORM, true).unwrap();
        assert!(matches!(input.total, Total::Unknown));
        assert_eq!(shown(input.lines), ["1 1->2", "2 3->4"]);
        writer.join().unwrap().unwrap();
        let file = folder.path("file.tsv");
        std::fs::write(&file, "1\t2\n").unwrap();
        assert!(matches!(open(&file, FORM, true).unwrap().total, Total::Uncounted(_)));
    }

    #[test]
    fn names_tell_the_delimiter() {
        assert_eq!(by_name(Path::new("a/b.tsv.gz")), Some(Delimited::Tsv));
        assert_eq!(by_name(Path::new("B.CSV")), Some(Delimited::Csv));
        assert_eq!(by_name(Path::new("b.txt")), None);
        assert_eq!(by_name(Path::new("-")), None);
    }

    fn sorted(text: &'static str) -> (Vec<String>, Total) {
        let (lines, words) = lines(Box::new(text.as_bytes()), FORM).unwrap();
        let input = sort(Input { lines, total: Total::Unknown, words }).unwrap();
        (shown(input.lines), input.total)
    }

    #[test]
    fn rows_with_dates_are_sorted() {
        let (rows, total) =
            sorted("1\t2\t300000000\n3\t4\t100000000\n5\t5\t200000000\n5\t6\n7\t8\t100000000\n");
        assert_eq!(rows, ["3 SELF_EDGE", "2 3->4", "5 7->8", "1 1->2", "4 5->6"]);
        assert!(matches!(total, Total::Lines(5)));
    }

    #[test]
    fn rows_without_dates_are_not_held_back() {
        let (rows, total) = sorted("x\t1\n3\t4\n1\t2\t100000000\n");
        assert_eq!(rows, ["1 INVALID_UUID", "2 3->4", "3 1->2"]);
        assert!(matches!(total, Total::Unknown));
    }
}
