//! Parses text as rows: gzip, delimiters, quotes, comments, the header.
//!
//! A row is a line, so that refused rows have the line numbers of an editor. In CSV, a quoted field may have line ends.
//! Such a row is refused with all of its lines, because it may also be several rows and a stray quote.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use anyhow::{Context as _, anyhow, bail};
use csv::ByteRecord;
use flate2::read::MultiGzDecoder;
use proto::graph::v1::EdgeKind;

use crate::commands::import::args::ColumnNumbers;
use crate::commands::import::header::{self, Columns};
use crate::commands::import::row::{self, Line};
use crate::files::Delimited;
use crate::text::{CR_ALONE, other_encoding};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BUFFER: usize = 1 << 16;
/// Maximum number of lines of a row, so that a quote that is never closed cannot swallow the file.
const LONGEST_ROW: u64 = 100;

pub type Lines = Box<dyn Iterator<Item = anyhow::Result<Line>> + Send>;

#[derive(Clone, Copy, Debug)]
pub struct InputFormat {
    /// Separator of columns, if it is set.
    pub delimited: Option<Delimited>,
    /// Meaning of the columns, if it is set.
    pub columns: Option<ColumnNumbers>,
    pub kind: EdgeKind,
}

/// Unpacks gzip, which is detected by its first bytes.
pub fn unpacked(mut raw: Box<dyn Read + Send>) -> io::Result<Box<dyn BufRead + Send>> {
    let mut magic = Vec::new();
    raw.by_ref().take(2).read_to_end(&mut magic)?;
    let gzip = magic == [0x1f, 0x8b];
    let whole = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(raw));
    if gzip {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(whole))));
    }
    Ok(Box::new(whole))
}

/// Lines of an input in its order, and the meaning of its columns in words.
pub fn lines(raw: Box<dyn Read + Send>, form: InputFormat) -> anyhow::Result<(Lines, Option<String>)> {
    let mut input = unpacked(raw).with_context(|| cannot_read(1))?;
    // Read only the first row: a pipe may be slow.
    let mut start = Vec::new();
    let (begin, line) = first_row(&mut input, &mut start).with_context(|| cannot_read(1))?;
    if let Some(encoding) = other_encoding(&start) {
        bail!("the input is {encoding}: write it as UTF-8 (iconv -f {encoding} -t UTF-8)");
    }
    let mut row = start.split_off(begin);
    let text = line_text(&row);
    let format = form.delimited.unwrap_or(if text.contains(&b',') && !text.contains(&b'\t') {
        Delimited::Csv
    } else {
        Delimited::Tsv
    });
    let columns = Columns::in_place(form.kind);
    let mut rows = Rows { input, format, columns, line, skip: false, broken: false };
    // A quoted name may have line ends.
    let cells = rows.cells(&mut row)?;
    let has_header = header::is_header(&cells) && (form.columns.is_none() || header::has_known_name(&cells));
    let (columns, words) = match form.columns {
        Some(numbers) => (Columns::numbered(numbers), None),
        None if has_header => {
            let read = header::read(&cells, form.kind);
            let header = read.map_err(|mistake| anyhow!("line {line}: {mistake}; {}", header::ADVICE))?;
            (header.columns, header.words)
        }
        None => (columns, None),
    };
    start.append(&mut row);
    let input = Box::new(Cursor::new(start).chain(rows.input));
    Ok((Box::new(Rows { input, columns, line: 0, skip: has_header, ..rows }), words))
}

/// Context of a failed read; a gzip file may be truncated.
fn cannot_read(line: u64) -> String {
    format!("cannot read line {line} of the input")
}

/// Reads the first row that is not blank, with all lines before it, into `start`. Returns where it begins in `start`, and
/// its line number.
fn first_row(input: &mut Box<dyn BufRead + Send>, start: &mut Vec<u8>) -> io::Result<(usize, u64)> {
    for line in 1.. {
        let begin = start.len();
        if input.read_until(b'\n', start)? == 0 || !is_blank(line_text(&start[begin..])) {
            return Ok((begin, line));
        }
    }
    Ok((start.len(), 1))
}

/// A line without byte order mark and line end.
fn line_text(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii_end()
}

/// Whether a line is empty or a comment.
fn is_blank(text: &[u8]) -> bool {
    text.is_empty() || text.starts_with(b"#")
}

struct Rows {
    input: Box<dyn BufRead + Send>,
    format: Delimited,
    columns: Columns,
    line: u64,
    /// The next row is a header.
    skip: bool,
    /// An error ends the rows.
    broken: bool,
}

impl Iterator for Rows {
    type Item = anyhow::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let row = self.row().transpose();
        self.broken = matches!(row, Some(Err(_)));
        row
    }
}

impl Rows {
    /// The next row; `None` at the end.
    fn row(&mut self) -> anyhow::Result<Option<Line>> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if !self.read_line(&mut bytes)? {
                return Ok(None);
            }
            let text = line_text(&bytes);
            if is_blank(text) {
                if text.contains(&b'\r') {
                    return Err(self.cr_alone());
                }
                continue;
            }
            let first = self.line;
            let cells = self.cells(&mut bytes)?;
            if std::mem::take(&mut self.skip) {
                continue;
            }
            return Ok(Some(if self.line == first {
                row::parse(first, &cells, &self.columns)
            } else {
                row::over_lines(first, self.line, &cells, &self.columns)
            }));
        }
    }

    fn cr_alone(&self) -> anyhow::Error {
        anyhow!("line {}: {CR_ALONE}", self.line)
    }

    /// The columns of the row that starts with this line. Reads further lines until its quotes are closed.
    fn cells(&mut self, bytes: &mut Vec<u8>) -> anyhow::Result<ByteRecord> {
        let first = self.line;
        loop {
            match split(line_text(bytes), self.format) {
                Split::Columns(cells) => return Ok(cells),
                Split::CrAlone => return Err(self.cr_alone()),
                Split::Open => {}
            }
            if self.line - first + 1 >= LONGEST_ROW || !self.read_line(bytes)? {
                bail!(
                    "line {first}: a quote is not closed within {LONGEST_ROW} lines; write one that belongs to the text \
                     twice"
                );
            }
        }
    }

    /// Appends the next line; false at the end.
    fn read_line(&mut self, bytes: &mut Vec<u8>) -> anyhow::Result<bool> {
        let read = self.input.read_until(b'\n', bytes);
        let read = read.with_context(|| cannot_read(self.line + 1))?;
        self.line += u64::from(read > 0);
        Ok(read > 0)
    }
}

enum Split {
    Columns(ByteRecord),
    Open,
    /// Rows with CR alone between them.
    CrAlone,
}

fn split(text: &[u8], format: Delimited) -> Split {
    let delimiter = match format {
        Delimited::Tsv => b'\t',
        Delimited::Csv if text.contains(&b'"') => return split_quoted(text),
        Delimited::Csv => b',',
    };
    if text.contains(&b'\r') {
        return Split::CrAlone;
    }
    Split::Columns(text.split(|b| *b == delimiter).collect())
}

/// Parses the text and a row of our own after it, so that the library shows where each ends.
fn split_quoted(text: &[u8]) -> Split {
    const NEXT: &[u8] = b"\n-";
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.chain(NEXT));
    // Reads from memory do not fail.
    let mut rows = reader.byte_records().map_while(Result::ok);
    match (rows.next(), rows.next(), rows.next()) {
        // A second row with an open quote contains ours.
        (Some(cells), Some(next), None) if next == [b"-"][..] => Split::Columns(cells),
        (Some(_), None, _) => Split::Open,
        _ => Split::CrAlone,
    }
}

#[cfg(test)]
mod tests {
    use proto::graph::v1::EdgeKind;

    use super::super::testing::{FORMAT, read, shown};
    use super::*;

    fn mistake(bytes: &'static [u8]) -> String {
        lines(Box::new(bytes), FORMAT).err().expect("a mistake").to_string()
    }

    #[test]
    fn the_first_line_tells_the_delimiter() {
        assert_eq!(read(b"1\t2\n3\t4\n", None), ["1 1->2", "2 3->4"]);
        assert_eq!(read(b"1,2\r\n3,4", None), ["1 1->2", "2 3->4"]);
        assert_eq!(read(b"# who,whom\n1\t2\n", None), ["2 1->2"]);
        assert_eq!(read(b"\xef\xbb\xbf1,2\n", None), ["1 1->2"]);
        assert_eq!(read(b"", None), Vec::<String>::new());
    }

    #[test]
    fn a_header_counts_for_line_numbers() {
        assert_eq!(
            read(b"source_id,target_id\n1,2\n\nx,3\n5,6\n", None),
            ["2 1->2", "4 INVALID_UUID", "5 5->6"]
        );
    }

    #[test]
    fn the_header_or_numbers_set_the_columns() {
        let reversed = "\u{feff}\"followee_id\",\"follower_id\"\r\n1,2\r\n";
        assert_eq!(read(reversed.as_bytes(), None), ["2 2->1"]);
        let error = mistake(b"# a dump\nid,who,follows\n7,1501,1502\n");
        assert!(
            error.starts_with("line 2: the header names a column 'id'") && error.contains("--columns"),
            "{error}"
        );
        let by_number = |text: &'static str, numbers: &str| {
            let form = InputFormat { columns: Some(numbers.parse().unwrap()), ..FORMAT };
            shown(lines(Box::new(text.as_bytes()), form).unwrap().0)
        };
        assert_eq!(by_number("id,who,follows\n7,1501,1502\n", "2,3"), ["2 1501->1502"]);
        assert_eq!(by_number("alice,bob\n1,2\n", "1,2"), ["1 INVALID_UUID", "2 1->2"], "no header");
        assert_eq!(by_number("7\t1501\t1502\n", "3,2"), ["1 1502->1501"]);
        assert_eq!(by_number("7\t1501\tx\n", "1,2,3"), ["1 INVALID_TIMESTAMP"]);
    }

    #[test]
    fn a_file_of_refused_rows_can_be_imported() {
        let file = b"line\treason\tmessage\tsource_id\ttarget_id\tcreated_at\n7\tBLOCKED\tno, never\t1\t2\n";
        assert_eq!(read(file, None), ["2 1->2"]);
    }

    #[test]
    fn utf_16_is_refused() {
        assert!(mistake(b"\xff\xfe1\x00\t\x002\x00\n\x00").contains("UTF-16LE"));
        assert!(mistake(b"1\x00\t\x002\x00\n\x00").contains("UTF-16LE"));
        assert!(mistake(b"\x00#\x00\n\x001\x00\t\x002\x00\n").contains("UTF-16BE"));
    }

    #[test]
    fn quotes_belong_to_csv_only() {
        assert_eq!(read(b"\"1\",\"2\"\n3,4,,\"a, b\"\n", Some(Delimited::Csv)), ["1 1->2", "2 3->4"]);
        assert_eq!(read(b"\"1\t2\n3\t4\n", Some(Delimited::Tsv)), ["1 INVALID_UUID", "2 3->4"]);
    }

    #[test]
    fn a_row_over_several_lines_is_refused() {
        let csv = |text: &str| read(text.as_bytes(), Some(Delimited::Csv));
        let rows = "1,2,2024-01-01,\"hello\r\n5,6\r\n\r\n# bye\"\r\n7,8\r\n";
        assert_eq!(csv(rows), ["1 SEVERAL_LINES", "5 7->8"]);
        assert_eq!(csv("1,2,\"2024-01-01\n00:00:00Z\"\n3,4\n"), ["1 SEVERAL_LINES", "3 3->4"]);
        assert_eq!(csv("1,2,,a \"quote\"\n3,4,,\"a \"\"\"\n"), ["1 1->2", "2 3->4"]);
    }

    #[test]
    fn names_of_a_header_may_have_line_ends() {
        let rows = |kind, text: &str| {
            let form = InputFormat { kind, delimited: Some(Delimited::Csv), ..FORMAT };
            match lines(Box::new(Cursor::new(text.as_bytes().to_vec())), form) {
                Ok((lines, _)) => shown(lines),
                Err(error) => vec![error.to_string()],
            }
        };
        let follows = |text: &str| rows(EdgeKind::Follow, text);
        assert_eq!(follows("\"following\r\nid\",\"follower\r\nid\"\r\n1,2\r\n"), ["4 2->1"]);
        let dated = "followee_id,follower_id,\"created\nat\"\n1,2,2024-01-01\n1,2,never\n";
        assert_eq!(follows(dated), ["3 2->1", "4 INVALID_TIMESTAMP"]);
        let ending = "source_id,target_id,created_at,\"expires\nat\"\n1,2,,never\n";
        assert_eq!(rows(EdgeKind::Mute, ending), ["3 INVALID_TIMESTAMP"]);
        let unknown = follows("source_id,target_id,\"no\r\nte\"\n1,2\n");
        assert!(unknown[0].starts_with("line 1: the header names a column 'no te'"), "{unknown:?}");
        let open = follows("source_id,target_id,\"created_at\n1,2,2024-01-01\n");
        assert!(open[0].starts_with("line 1: a quote is not closed"), "{open:?}");
    }

    #[test]
    fn an_open_quote_ends_the_import() {
        let csv = |text: &str| read(text.as_bytes(), Some(Delimited::Csv));
        let error = csv("1,2\n\"1,2\n3,4\n");
        assert_eq!(error.len(), 2, "{error:?}");
        assert!(error[1].starts_with("error: line 2: a quote is not closed within 100 lines"), "{error:?}");
        let lines = |number: usize| format!("1,2,,\"{}\"\n3,4\n", "\n".repeat(number - 1));
        assert_eq!(csv(&lines(100)), ["1 SEVERAL_LINES", "101 3->4"]);
        assert!(csv(&lines(101))[0].starts_with("error: line 1: "));
    }

    #[test]
    fn line_ends_with_cr_alone_are_refused() {
        for (text, line) in [
            ("# comment\r1\t2\r3\t4\r", 1),
            ("\n1\t2\t\tx\r3\t4\n", 2),
            ("1,2\r3,4\r", 1),
            ("1,\"2\"\r3,4\r", 1),
            ("1,2\n3,4\r5,6,,\"x\n# y\"\n7,8\n", 2),
            ("source_id,target_id\r1,2\r", 1),
        ] {
            let error = read(text.as_bytes(), None).pop().expect("an error");
            assert!(
                error.starts_with(&format!("error: line {line}: lines end with CR alone")),
                "{text:?}: {error}"
            );
        }
        assert_eq!(read(b"1,2,,\"a\rb\"\r\n", Some(Delimited::Csv)), ["1 1->2"], "a CR in quotes is text");
    }
}
