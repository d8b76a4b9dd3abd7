//! From a file or stdin to lines: gzip, delimiters, comments, the header, the order.
//!
//! Owns what the input looks like. Everything here blocks, so it runs on a thread
//! of its own. What can go wrong: a file that is missing, cut off or not text.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use csv::ByteRecord;
use flate2::read::MultiGzDecoder;

use super::row::{self, Line};
use crate::args::Delimited;

const BUFFER: usize = 1 << 16;
/// What some programs put before the text of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
}

/// Lines in the order in which they are to be imported.
pub type Lines = Box<dyn Iterator<Item = Result<Line, Error>> + Send>;

/// How much there is, as far as it is known before the end.
#[derive(Clone, Debug)]
pub enum Total {
    /// That many lines.
    Lines(u64),
    /// As many as [`count`] finds in this file.
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
}

/// What an input looks like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form {
    /// How columns are separated, if it was said.
    pub delimited: Option<Delimited>,
    /// A fourth column says when an edge runs out.
    pub may_expire: bool,
}

/// Opens an input. If its first row has a date, and unless `keep_order`, all of it
/// is read and sorted by date (rows that are refused and have none come first, edges
/// without a date last, equal dates in the order of the file).
pub fn open(path: &Path, form: Form, keep_order: bool) -> Result<Input, Error> {
    let (raw, total): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
        (Box::new(io::stdin()), Total::Unknown)
    } else {
        let file = File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
        (Box::new(file), Total::Uncounted(path.to_owned()))
    };
    let form = Form { delimited: form.delimited.or_else(|| by_name(path)), ..form };
    let lines = lines(raw, form)?;
    if keep_order {
        return Ok(Input { lines, total });
    }
    sort(lines, total)
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

fn sort(mut lines: Lines, total: Total) -> Result<Input, Error> {
    let mut seen = Vec::new();
    for line in lines.by_ref() {
        let line = line?;
        let dated = matches!(&line, Line::Edge(row) if row.created_at.is_some());
        let undated = matches!(&line, Line::Edge(row) if row.created_at.is_none());
        seen.push(line);
        if undated {
            let lines = Box::new(seen.into_iter().map(Ok).chain(lines));
            return Ok(Input { lines, total });
        }
        if dated {
            break;
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
    Ok(Input { total: Total::Lines(seen.len() as u64), lines: Box::new(seen.into_iter().map(Ok)) })
}

/// Lines of anything that can be read, in its order.
fn lines(raw: Box<dyn Read + Send>, form: Form) -> Result<Lines, Error> {
    let at_start = |source| Error::Read { line: 1, source };
    let mut input = unpacked(raw).map_err(at_start)?;
    let format = match form.delimited {
        Some(format) => format,
        None => {
            let mut start = Vec::new();
            let format = sniff(&mut input, &mut start).map_err(at_start)?;
            input = Box::new(Cursor::new(start).chain(input));
            format
        }
    };
    let may_expire = form.may_expire;
    Ok(Box::new(Rows { input, format, may_expire, line: 0, first: true, broken: false }))
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

/// The delimiter of the first row. What was read is left in `start`; no more than
/// that is read, for a pipe may be slow.
fn sniff(input: &mut Box<dyn BufRead + Send>, start: &mut Vec<u8>) -> io::Result<Delimited> {
    loop {
        let before = start.len();
        if input.read_until(b'\n', start)? == 0 {
            return Ok(Delimited::Tsv);
        }
        let line = text(&start[before..]);
        if !is_blank(line) {
            let csv = line.contains(&b',') && !line.contains(&b'\t');
            return Ok(if csv { Delimited::Csv } else { Delimited::Tsv });
        }
    }
}

/// A line without what belongs to the file and not to its text.
fn text(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii_end()
}

/// Nothing, or a comment.
fn is_blank(text: &[u8]) -> bool {
    text.is_empty() || text.starts_with(b"#")
}

/// Rows are lines, so that a stray quote cannot swallow the file, and refused rows
/// have the numbers that editors show.
struct Rows {
    input: Box<dyn BufRead + Send>,
    format: Delimited,
    may_expire: bool,
    line: u64,
    first: bool,
    /// After an error comes nothing.
    broken: bool,
}

impl Iterator for Rows {
    type Item = Result<Line, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        while !self.broken {
            bytes.clear();
            match self.input.read_until(b'\n', &mut bytes) {
                Ok(0) => return None,
                Ok(_) => self.line += 1,
                Err(source) => {
                    self.broken = true;
                    return Some(Err(Error::Read { line: self.line + 1, source }));
                }
            }
            let text = text(&bytes);
            if is_blank(text) {
                continue;
            }
            let columns = columns(text, self.format);
            let is_header = std::mem::take(&mut self.first) && row::is_header(&columns);
            if !is_header {
                return Some(Ok(row::parse(self.line, &columns, self.may_expire)));
            }
        }
        None
    }
}

/// The columns of a line.
fn columns(line: &[u8], format: Delimited) -> ByteRecord {
    match format {
        Delimited::Tsv => line.split(|b| *b == b'\t').collect(),
        Delimited::Csv if line.contains(&b'"') => {
            let mut columns = ByteRecord::new();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line);
            match reader.read_byte_record(&mut columns) {
                Ok(_) => columns,
                // Reading from memory does not fail; if it does, the row is refused.
                Err(_) => ByteRecord::from(vec![line]),
            }
        }
        Delimited::Csv => line.split(|b| *b == b',').collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(bytes: &[u8], delimited: Option<Delimited>) -> Vec<String> {
        let form = Form { delimited, ..Form::default() };
        shown(lines(Box::new(Cursor::new(bytes.to_vec())), form).unwrap())
    }

    fn shown(lines: Lines) -> Vec<String> {
        let show = |line: Result<Line, Error>| match line {
            Ok(Line::Edge(row)) => format!("{} {}->{}", row.line, row.source, row.target),
            Ok(Line::Refused(refused)) => format!("{} {}", refused.line, refused.reason),
            Err(error) => format!("error: {error}"),
        };
        lines.map(show).collect()
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::default());
        gz.write_all(text.as_bytes()).unwrap();
        gz.finish().unwrap()
    }

    #[test]
    fn delimiters_are_told_from_the_first_line() {
        assert_eq!(read(b"1\t2\n3\t4\n", None), ["1 1->2", "2 3->4"]);
        assert_eq!(read(b"1,2\r\n3,4", None), ["1 1->2", "2 3->4"]);
        assert_eq!(read(b"# who,whom\n1\t2\n", None), ["2 1->2"]);
        assert_eq!(read(b"\xef\xbb\xbf1,2\n", None), ["1 1->2"]);
        assert_eq!(read(b"", None), Vec::<String>::new());
    }

    #[test]
    fn a_header_is_left_out_and_lines_keep_their_numbers() {
        assert_eq!(
            read(b"source_id,target_id\n1,2\n\nx,3\n5,6\n", None),
            ["2 1->2", "4 INVALID_UUID", "5 5->6"]
        );
    }

    #[test]
    fn quotes_belong_to_csv_only() {
        assert_eq!(read(b"\"1\",\"2\"\n3,4,,\"a, b\"\n", Some(Delimited::Csv)), ["1 1->2", "2 3->4"]);
        assert_eq!(read(b"\"1,2\n3,4\n", Some(Delimited::Csv)), ["1 INVALID_UUID", "2 3->4"]);
        assert_eq!(read(b"\"1\t2\n3\t4\n", Some(Delimited::Tsv)), ["1 INVALID_UUID", "2 3->4"]);
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
    fn names_tell_the_delimiter() {
        assert_eq!(by_name(Path::new("a/b.tsv.gz")), Some(Delimited::Tsv));
        assert_eq!(by_name(Path::new("B.CSV")), Some(Delimited::Csv));
        assert_eq!(by_name(Path::new("b.txt")), None);
        assert_eq!(by_name(Path::new("-")), None);
    }

    fn sorted(text: &'static str) -> (Vec<String>, Total) {
        let input = lines(Box::new(text.as_bytes()), Form::default()).unwrap();
        let input = sort(input, Total::Unknown).unwrap();
        (shown(input.lines), input.total)
    }

    #[test]
    fn rows_with_dates_are_sorted() {
        let (rows, total) = sorted("1\t2\t30\n3\t4\t10\n5\t5\t20\n5\t6\n7\t8\t10\n");
        assert_eq!(rows, ["3 SELF_EDGE", "2 3->4", "5 7->8", "1 1->2", "4 5->6"]);
        assert!(matches!(total, Total::Lines(5)));
    }

    #[test]
    fn rows_without_dates_are_not_held_back() {
        let (rows, total) = sorted("x\t1\n3\t4\n1\t2\t10\n");
        assert_eq!(rows, ["1 INVALID_UUID", "2 3->4", "3 1->2"]);
        assert!(matches!(total, Total::Unknown));
    }
}
