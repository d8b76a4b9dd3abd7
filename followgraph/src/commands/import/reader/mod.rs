//! Reads a file or stdin as lines in the order of the import. All functions block, so they run on a separate thread.

mod rows;

use std::fs::File;
use std::io::{self, BufRead as _, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use self::rows::unpacked;
pub use self::rows::{InputFormat, Lines};
use super::row::{Line, Refused};
use crate::files::Delimited;

/// Increment it if the same text gives other rows: progress files count rows, and those of another version start over.
pub const VERSION: u32 = 2;
/// If this many rows are refused before the first edge, the file is something else. All of them are in memory, because
/// the first edge decides whether the rows are sorted.
const REFUSED_AT_FIRST: usize = 10_000;

/// Number of lines, as far as it is known before the end.
#[derive(Clone, Debug)]
pub enum Total {
    Lines(u64),
    /// To be counted by [`count`] in this regular file.
    Uncounted(PathBuf),
    /// Unknown, because the input is a pipe.
    Unknown,
}

pub struct Input {
    pub lines: Lines,
    pub total: Total,
    /// Meaning of the columns in words, if it is unusual.
    pub words: Option<String>,
}

/// Opens an input. If its first edge has a date, reads all rows and sorts them by date, unless `keep_order` is set.
/// Refused rows come first, edges without a date last, and equal dates keep the order of the file.
pub fn open(path: &Path, format: InputFormat, keep_order: bool) -> anyhow::Result<Input> {
    let (raw, total): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
        (Box::new(io::stdin()), Total::Unknown)
    } else {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        // Counting the lines of a pipe would consume them.
        let regular = file.metadata().is_ok_and(|found| found.is_file());
        let total = if regular { Total::Uncounted(path.to_owned()) } else { Total::Unknown };
        (Box::new(file), total)
    };
    let format = InputFormat { delimited: format.delimited.or_else(|| Delimited::by_name(path)), ..format };
    let (lines, words) = rows::lines(raw, format)?;
    let input = Input { lines, total, words };
    if keep_order { Ok(input) } else { sort(input) }
}

/// Counts the lines of a file, which is faster than parsing rows and good enough for the progress bar.
pub fn count(path: &Path) -> io::Result<u64> {
    let mut plain = unpacked(Box::new(File::open(path)?))?;
    let mut lines = 0;
    while plain.skip_until(b'\n')? > 0 {
        lines += 1;
    }
    Ok(lines)
}

fn sort(input: Input) -> anyhow::Result<Input> {
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
            let (rows, Refused { line, message, .. }) = (seen.len(), first);
            bail!("none of the first {rows} rows is an edge, nothing was sent; line {line}: {message}");
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

#[cfg(test)]
mod testing {
    use std::io::Cursor;

    use proto::graph::v1::EdgeKind;

    use super::rows::{self, InputFormat, Lines};
    use super::{Delimited, Line};

    /// Nothing is set.
    pub const FORMAT: InputFormat = InputFormat { delimited: None, columns: None, kind: EdgeKind::Follow };

    /// The rows of an input; the error alone if its first row is one.
    pub fn read(bytes: &[u8], delimited: Option<Delimited>) -> Vec<String> {
        match rows::lines(Box::new(Cursor::new(bytes.to_vec())), InputFormat { delimited, ..FORMAT }) {
            Ok((lines, _)) => shown(lines),
            Err(error) => vec![format!("error: {error}")],
        }
    }

    /// Each line in a short format.
    pub fn shown(lines: Lines) -> Vec<String> {
        let show = |line: anyhow::Result<Line>| match line {
            Ok(Line::Edge(row)) => format!("{} {}->{}", row.line, row.source, row.target),
            Ok(Line::Refused(refused)) => format!("{} {}", refused.line, refused.reason),
            Err(error) => format!("error: {error}"),
        };
        lines.map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::rows::lines;
    use super::testing::{FORMAT, read, shown};
    use super::*;
    use crate::files::testing::Folder;

    fn gzip(text: &str) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::default());
        gz.write_all(text.as_bytes()).unwrap();
        gz.finish().unwrap()
    }

    #[test]
    fn gzip_is_detected_and_may_have_members() {
        let both = [gzip("1\t2\n"), gzip("3\t4\n")].concat();
        assert_eq!(read(&both, None), ["1 1->2", "2 3->4"]);
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let whole = gzip(&"1\t2\n".repeat(100));
        let cut = &whole[..whole.len() - 9];
        let last = read(cut, Some(Delimited::Tsv)).pop().unwrap();
        assert!(last.starts_with("error: cannot read line"), "{last}");
    }

    #[test]
    fn a_file_without_edges_is_refused() {
        let text = "1\t2\tnever\n".repeat(REFUSED_AT_FIRST + 1);
        let (lines, words) = lines(Box::new(Cursor::new(text.into_bytes())), FORMAT).unwrap();
        let sorted = sort(Input { lines, total: Total::Unknown, words });
        let error = sorted.err().expect("no edges").to_string();
        assert!(error.contains("nothing was sent; line 1: created_at must be a date"), "{error}");
    }

    #[test]
    fn the_lines_of_a_pipe_are_not_counted() {
        let folder = Folder::new();
        let pipe = folder.pipe("edges.tsv");
        let writer = {
            let pipe = pipe.clone();
            std::thread::spawn(move || std::fs::write(pipe, "1\t2\n3\t4\n"))
        };
        let input = open(&pipe, FORMAT, true).unwrap();
        assert!(matches!(input.total, Total::Unknown));
        assert_eq!(shown(input.lines), ["1 1->2", "2 3->4"]);
        writer.join().unwrap().unwrap();
        let file = folder.path("file.tsv");
        std::fs::write(&file, "1\t2\n").unwrap();
        assert!(matches!(open(&file, FORMAT, true).unwrap().total, Total::Uncounted(_)));
    }

    #[test]
    fn the_name_of_a_file_tells_the_delimiter() {
        assert_eq!(Delimited::by_name(Path::new("a/b.tsv.gz")), Some(Delimited::Tsv));
        assert_eq!(Delimited::by_name(Path::new("B.CSV")), Some(Delimited::Csv));
        assert_eq!(Delimited::by_name(Path::new("b.txt")), None);
        assert_eq!(Delimited::by_name(Path::new("-")), None);
    }

    fn sorted(text: &'static str) -> (Vec<String>, Total) {
        let (lines, words) = lines(Box::new(text.as_bytes()), FORMAT).unwrap();
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
    fn rows_without_dates_are_not_sorted() {
        let (rows, total) = sorted("x\t1\n3\t4\n1\t2\t100000000\n");
        assert_eq!(rows, ["1 INVALID_UUID", "2 3->4", "3 1->2"]);
        assert!(matches!(total, Total::Unknown));
    }
}
