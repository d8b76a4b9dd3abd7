//! The output of an export: stdout or a file, plain or gzip, tsv, csv or ndjson.
//!
//! A regular file is written under a temporary name and renamed at the end, so that a partial export never looks like a
//! complete one. Devices and pipes are written in place: a rename would replace them by a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;
use proto::query::v1::ExportedEdge;

use crate::dates;
use crate::files::{self, Delimited};
use crate::output::{Format, json_row};

/// Format of exported rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rows {
    /// Tab-separated, with a header
    Tsv,
    /// Comma-separated, with a header
    Csv,
    /// One JSON object per line
    Ndjson,
}

impl Rows {
    /// The format that the name of the file tells, else that of `-o`.
    pub fn by_default(file: &Path, format: Format) -> Self {
        match (Delimited::by_name(file), files::extension(file).as_str(), format) {
            (Some(Delimited::Tsv), ..) => Self::Tsv,
            (Some(Delimited::Csv), ..) => Self::Csv,
            (None, "ndjson" | "jsonl" | "json", _) | (None, _, Format::Json) => Self::Ndjson,
            (None, _, Format::Text) => Self::Tsv,
        }
    }
}

enum Writer {
    Plain(BufWriter<Box<dyn Write + Send>>),
    Gzip(GzEncoder<BufWriter<Box<dyn Write + Send>>>),
}

pub struct Sink {
    writer: Writer,
    format: RowFormat,
    to_stdout: bool,
    /// Temporary and final name of the file; `None` if the output is written in place.
    names: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Copy, Debug)]
pub struct RowFormat {
    pub rows: Rows,
    /// Whether there is a column for the expiry time.
    pub may_expire: bool,
}

json_row! {
    /// A row, as ndjson writes it.
    struct Row<'a> from edge: &'a ExportedEdge {
        source_id: &'a str = &edge.source_id,
        target_id: &'a str = &edge.target_id,
        created_at: Option<String> = dates::format_proto(edge.created_at),
        expires_at: Option<String> = dates::format_proto(edge.expires_at),
        position: u64 = edge.position,
    }
}

impl Sink {
    /// Opens a file, or stdout, which has several names.
    pub fn open(path: &Path, format: RowFormat) -> anyhow::Result<Self> {
        let cannot_write = |path: &Path| format!("cannot write {}", path.display());
        let to_stdout = files::is_stdout(path);
        let in_place =
            if to_stdout { None } else { files::in_place(path).with_context(|| cannot_write(path))? };
        let (raw, names): (Box<dyn Write + Send>, _) = match in_place {
            _ if to_stdout => (Box::new(io::stdout()), None),
            Some(file) => (Box::new(file), None),
            None => {
                // Replace the file that a link leads to, not the link.
                let file = files::behind_links(path).with_context(|| cannot_write(path))?;
                // Appended to the name as it is, so that a folder's is refused before the first row.
                let mut part = file.as_os_str().to_owned();
                part.push(".part");
                let part = PathBuf::from(part);
                let raw = File::create(&part).with_context(|| cannot_write(&part))?;
                (Box::new(raw), Some((part, file)))
            }
        };
        let buffered = BufWriter::with_capacity(1 << 16, raw);
        let compressed = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        let writer = if compressed {
            Writer::Gzip(GzEncoder::new(buffered, Compression::default()))
        } else {
            Writer::Plain(buffered)
        };
        let mut sink = Self { writer, format, to_stdout, names };
        if let Some(separator) = separator(format.rows) {
            let names = ["source_id", "target_id", "created_at", "expires_at"];
            let columns = if format.may_expire { 4 } else { 3 };
            sink.put(format!("{}\n", names[..columns].join(separator)).as_bytes())?;
        }
        Ok(sink)
    }

    pub fn is_stdout(&self) -> bool {
        self.to_stdout
    }

    pub fn write(&mut self, edges: &[ExportedEdge]) -> anyhow::Result<()> {
        let mut text = Vec::with_capacity(edges.len() * 128);
        for edge in edges {
            encode(&mut text, edge, self.format)?;
        }
        Ok(self.put(&text)?)
    }

    /// Completes the file and renames it.
    pub fn finish(self) -> anyhow::Result<()> {
        let mut rest = match self.writer {
            Writer::Plain(writer) => writer,
            Writer::Gzip(writer) => writer.finish()?,
        };
        rest.flush()?;
        if let Some((part, file)) = self.names {
            std::fs::rename(&part, &file)
                .with_context(|| format!("cannot rename {} to {}", part.display(), file.display()))?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.writer {
            Writer::Plain(writer) => writer.write_all(bytes),
            Writer::Gzip(writer) => writer.write_all(bytes),
        }
    }
}

/// Separator of columns; `None` without columns. Ids and dates need no quotes.
fn separator(rows: Rows) -> Option<&'static str> {
    match rows {
        Rows::Tsv => Some("\t"),
        Rows::Csv => Some(","),
        Rows::Ndjson => None,
    }
}

fn encode(text: &mut Vec<u8>, edge: &ExportedEdge, format: RowFormat) -> anyhow::Result<()> {
    let row = Row::new(edge);
    match separator(format.rows) {
        Some(separator) => {
            let (created_at, expires_at) = (row.created_at.as_deref(), row.expires_at.as_deref());
            let mut columns = vec![row.source_id, row.target_id, created_at.unwrap_or_default()];
            // Without the expiry time, an import would make the edge permanent.
            columns.extend(format.may_expire.then(|| expires_at.unwrap_or_default()));
            text.extend(columns.join(separator).into_bytes());
        }
        None => serde_json::to_writer(&mut *text, &row)?,
    }
    text.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileTypeExt as _;

    use super::*;
    use crate::files::testing::Folder;

    const TSV: RowFormat = RowFormat { rows: Rows::Tsv, may_expire: false };
    const HEADER: &str = "source_id\ttarget_id\tcreated_at\n";

    #[test]
    fn a_pipe_is_written_and_not_replaced() {
        let folder = Folder::new();
        let pipe = folder.pipe("edges.tsv");
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::read_to_string(pipe))
        };
        let sink = Sink::open(&pipe, TSV).unwrap();
        assert!(!sink.is_stdout());
        sink.finish().unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), HEADER);
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        assert!(!folder.path("edges.tsv.part").exists());
    }

    #[test]
    fn a_link_is_kept() {
        let folder = Folder::new();
        let (file, link) = (folder.path("edges.tsv"), folder.path("newest"));
        fs::write(&file, "older").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Sink::open(&link, TSV).unwrap().finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), HEADER);
        fs::remove_file(&file).unwrap();
        Sink::open(&link, TSV).unwrap().finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "its file did not exist yet");
        assert_eq!(fs::read_to_string(&file).unwrap(), HEADER);
    }

    fn format(file: &str, format: Format) -> Rows {
        Rows::by_default(Path::new(file), format)
    }

    #[test]
    fn the_name_of_the_file_tells_the_format() {
        assert_eq!(format("-", Format::Text), Rows::Tsv);
        assert_eq!(format("-", Format::Json), Rows::Ndjson);
        assert_eq!(format("edges.ndjson.gz", Format::Text), Rows::Ndjson);
        assert_eq!(format("edges.CSV.gz", Format::Json), Rows::Csv);
        assert_eq!(format("edges.tsv", Format::Json), Rows::Tsv);
    }

    #[test]
    fn rows_of_all_formats() {
        let mut edge = ExportedEdge {
            source_id: "a".to_owned(),
            target_id: "b".to_owned(),
            created_at: Some(prost_types::Timestamp { seconds: 1_341_100_972, nanos: 500_000_000 }),
            expires_at: None,
            position: 1_024,
        };
        let text = |edge: &ExportedEdge, rows, may_expire| {
            let mut text = Vec::new();
            encode(&mut text, edge, RowFormat { rows, may_expire }).unwrap();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(text(&edge, Rows::Tsv, false), "a\tb\t2012-07-01T00:02:52.5Z\n");
        assert_eq!(text(&edge, Rows::Csv, false), "a,b,2012-07-01T00:02:52.5Z\n");
        assert_eq!(text(&edge, Rows::Csv, true), "a,b,2012-07-01T00:02:52.5Z,\n", "as many columns as names");
        assert_eq!(
            text(&edge, Rows::Ndjson, false),
            "{\"source_id\":\"a\",\"target_id\":\"b\",\"created_at\":\"2012-07-01T00:02:52.5Z\",\
             \"expires_at\":null,\"position\":1024}\n"
        );
        edge.expires_at = Some(prost_types::Timestamp { seconds: 1_341_100_973, nanos: 0 });
        let tsv = text(&edge, Rows::Tsv, true);
        assert_eq!(tsv, "a\tb\t2012-07-01T00:02:52.5Z\t2012-07-01T00:02:53Z\n");
    }
}
