//! From text to rows: delimiters, comments, the header.

use std::io::{self, BufRead, Cursor, Read};

use csv::ByteRecord;

use super::super::header::{self, Columns};
use super::super::row::{self, Line};
use super::{Error, Form, Lines, unpacked};
use crate::args::Delimited;
use crate::text;

/// What some programs put before the text of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Lines of anything that can be read, in its order, and how a header was read.
pub fn lines(raw: Box<dyn Read + Send>, form: Form) -> Result<(Lines, Option<String>), Error> {
    let at_start = |source| Error::Read { line: 1, source };
    let mut input = unpacked(raw).map_err(at_start)?;
    // No more than the first row is read, for a pipe may be slow.
    let mut start = Vec::new();
    let first = first_row(&mut input, &mut start).map_err(at_start)?;
    if let Some(encoding) = text::other_encoding(&start) {
        return Err(Error::Encoding(encoding));
    }
    let row = line_text(&start[first.begin..]);
    let format = form.delimited.unwrap_or(if row.contains(&b',') && !row.contains(&b'\t') {
        Delimited::Csv
    } else {
        Delimited::Tsv
    });
    let row = columns(row, format);
    let has_header = header::is_header(&row);
    let (columns, words) = match form.columns {
        Some(numbers) => (Columns::numbered(numbers), None),
        None if has_header => {
            let read = header::read(&row, form.kind);
            let header = read.map_err(|mistake| Error::Header { line: first.line, mistake })?;
            (header.columns, header.words)
        }
        None => (Columns::in_place(form.kind), None),
    };
    let input = Box::new(Cursor::new(start).chain(input));
    Ok((Box::new(Rows { input, format, columns, line: 0, skip: has_header, broken: false }), words))
}

/// Where the first row is in what was read.
struct FirstRow {
    begin: usize,
    line: u64,
}

/// Reads up to the end of the first row, into `start`.
fn first_row(input: &mut Box<dyn BufRead + Send>, start: &mut Vec<u8>) -> io::Result<FirstRow> {
    for line in 1.. {
        let begin = start.len();
        if input.read_until(b'\n', start)? == 0 || !is_blank(line_text(&start[begin..])) {
            return Ok(FirstRow { begin, line });
        }
    }
    Ok(FirstRow { begin: start.len(), line: 1 })
}

/// A line without what belongs to the file and not to its text.
fn line_text(line: &[u8]) -> &[u8] {
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
    columns: Columns,
    line: u64,
    /// The next row is a header.
    skip: bool,
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
            let text = line_text(&bytes);
            if is_blank(text) || std::mem::take(&mut self.skip) {
                continue;
            }
            return Some(Ok(row::parse(self.line, &columns(text, self.format), &self.columns)));
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
    use super::super::testing::{FORM, read, shown};
    use super::*;

    fn mistake(bytes: &'static [u8]) -> String {
        lines(Box::new(bytes), FORM).err().expect("a mistake").to_string()
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
    fn columns_go_by_the_header_or_by_their_numbers() {
        let reversed = "\u{feff}\"followee_id\",\"follower_id\"\r\n1,2\r\n";
        assert_eq!(read(reversed.as_bytes(), None), ["2 2->1"]);
        let told = mistake(b"# a dump\nid,who,follows\n7,1501,1502\n");
        assert!(
            told.starts_with("line 2: the header names a column 'id'") && told.contains("--columns"),
            "{told}"
        );
        let by_number = |text: &'static str, numbers: &str| {
            let form = Form { columns: Some(numbers.parse().unwrap()), ..FORM };
            shown(lines(Box::new(text.as_bytes()), form).unwrap().0)
        };
        assert_eq!(by_number("id,who,follows\n7,1501,1502\n", "2,3"), ["2 1501->1502"]);
        assert_eq!(by_number("7\t1501\t1502\n", "3,2"), ["1 1502->1501"]);
        assert_eq!(by_number("7\t1501\tx\n", "1,2,3"), ["1 INVALID_TIMESTAMP"]);
    }

    #[test]
    fn a_file_of_refused_rows_can_be_imported_as_it_is() {
        let file = b"line\treason\tmessage\tsource_id\ttarget_id\tcreated_at\n7\tBLOCKED\tno, never\t1\t2\n";
        assert_eq!(read(file, None), ["2 1->2"]);
    }

    #[test]
    fn utf_16_is_refused_by_name() {
        assert!(mistake(b"\xff\xfe1\x00\t\x002\x00\n\x00").contains("UTF-16LE"));
    }

    #[test]
    fn quotes_belong_to_csv_only() {
        assert_eq!(read(b"\"1\",\"2\"\n3,4,,\"a, b\"\n", Some(Delimited::Csv)), ["1 1->2", "2 3->4"]);
        assert_eq!(read(b"\"1,2\n3,4\n", Some(Delimited::Csv)), ["1 INVALID_UUID", "2 3->4"]);
        assert_eq!(read(b"\"1\t2\n3\t4\n", Some(Delimited::Tsv)), ["1 INVALID_UUID", "2 3->4"]);
    }
}
