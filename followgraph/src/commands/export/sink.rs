//! Where exported rows go: stdout or a file, plain or gzip, tsv or ndjson.
//!
//! Owns the form of the rows. A file is written under a name of its own and
//! renamed at the end, so that half an export is never taken for a whole one.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use proto::query::v1::ExportedEdge;
use serde::Serialize;

use crate::args::{ExportArgs, Format, Rows};
use crate::dates;

/// The form of the rows: as asked for, else by the file's name, else by -o.
pub fn rows(args: &ExportArgs, format: Format) -> Rows {
    let name = args.file.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let by_name = match name.rsplit_once('.') {
        Some((_, "tsv")) => Some(Rows::Tsv),
        Some((_, "ndjson" | "jsonl" | "json")) => Some(Rows::Ndjson),
        _ => None,
    };
    args.format.or(by_name).unwrap_or(match format {
        Format::Text => Rows::Tsv,
        Format::Json => Rows::Ndjson,
    })
}

enum Writer {
    Plain(BufWriter<Box<dyn Write + Send>>),
    Gzip(GzEncoder<BufWriter<Box<dyn Write + Send>>>),
}

/// The file with its final name.
struct Target {
    part: PathBuf,
    file: PathBuf,
}

/// Takes rows.
pub struct Sink {
    writer: Writer,
    rows: Rows,
    target: Option<Target>,
}

/// A row of ndjson.
#[derive(Serialize)]
struct Row<'a> {
    source_id: &'a str,
    target_id: &'a str,
    created_at: Option<String>,
    expires_at: Option<String>,
    position: u64,
}

impl Sink {
    /// Opens stdout for `-`, else a file.
    pub fn open(path: &Path, rows: Rows) -> anyhow::Result<Self> {
        let (raw, target): (Box<dyn Write + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdout()), None)
        } else {
            let mut part = path.as_os_str().to_owned();
            part.push(".part");
            let part = PathBuf::from(part);
            let file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
            let file_name = path.to_owned();
            (Box::new(file), Some(Target { part, file: file_name }))
        };
        let buffered = BufWriter::with_capacity(1 << 16, raw);
        let compressed = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        let writer = if compressed {
            Writer::Gzip(GzEncoder::new(buffered, Compression::default()))
        } else {
            Writer::Plain(buffered)
        };
        let mut sink = Self { writer, rows, target };
        if rows == Rows::Tsv {
            sink.put(b"source_id\ttarget_id\tcreated_at\n")?;
        }
        Ok(sink)
    }

    /// The rows go to stdout.
    pub fn is_stdout(&self) -> bool {
        self.target.is_none()
    }

    /// Writes rows.
    pub fn write(&mut self, edges: &[ExportedEdge]) -> anyhow::Result<()> {
        let mut text = Vec::with_capacity(edges.len() * 128);
        for edge in edges {
            encode(&mut text, edge, self.rows)?;
        }
        Ok(self.put(&text)?)
    }

    /// Ends the file and gives it its name.
    pub fn finish(self) -> anyhow::Result<()> {
        let mut rest = match self.writer {
            Writer::Plain(writer) => writer,
            Writer::Gzip(writer) => writer.finish()?,
        };
        rest.flush()?;
        if let Some(Target { part, file }) = self.target {
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

fn encode(text: &mut Vec<u8>, edge: &ExportedEdge, rows: Rows) -> anyhow::Result<()> {
    let created_at = edge.created_at.as_ref().and_then(dates::format_proto);
    let expires_at = edge.expires_at.as_ref().and_then(dates::format_proto);
    match rows {
        Rows::Tsv => {
            write!(text, "{}\t{}\t{}", edge.source_id, edge.target_id, created_at.unwrap_or_default())?;
            // Without it an import would make the edge one for good.
            if let Some(expires_at) = expires_at {
                write!(text, "\t{expires_at}")?;
            }
            text.push(b'\n');
        }
        Rows::Ndjson => {
            serde_json::to_writer(
                &mut *text,
                &Row {
                    source_id: &edge.source_id,
                    target_id: &edge.target_id,
                    created_at,
                    expires_at,
                    position: edge.position,
                },
            )?;
            text.push(b'\n');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn form(args: &[&str]) -> Rows {
        let args = Args::parse_from([&["followgraph", "export"], args].concat());
        let Command::Export(export) = args.command else {
            panic!("another command");
        };
        rows(&export, args.output)
    }

    #[test]
    fn the_form_follows_the_name_unless_told_otherwise() {
        assert_eq!(form(&[]), Rows::Tsv);
        assert_eq!(form(&["-o", "json"]), Rows::Ndjson);
        assert_eq!(form(&["edges.ndjson.gz"]), Rows::Ndjson);
        assert_eq!(form(&["edges.tsv", "-o", "json"]), Rows::Tsv);
        assert_eq!(form(&["edges.tsv", "--format", "ndjson"]), Rows::Ndjson);
    }

    #[test]
    fn rows_of_both_forms() {
        let mut edge = ExportedEdge {
            source_id: "a".to_owned(),
            target_id: "b".to_owned(),
            created_at: Some(prost_types::Timestamp { seconds: 1_341_100_972, nanos: 500_000_000 }),
            expires_at: None,
            position: 1_024,
        };
        let text = |edge: &ExportedEdge, rows| {
            let mut text = Vec::new();
            encode(&mut text, edge, rows).unwrap();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(text(&edge, Rows::Tsv), "a\tb\t2012-07-01T00:02:52.5Z\n");
        assert_eq!(
            text(&edge, Rows::Ndjson),
            "{\"source_id\":\"a\",\"target_id\":\"b\",\"created_at\":\"2012-07-01T00:02:52.5Z\",\
             \"expires_at\":null,\"position\":1024}\n"
        );
        edge.expires_at = Some(prost_types::Timestamp { seconds: 1_341_100_973, nanos: 0 });
        assert_eq!(text(&edge, Rows::Tsv), "a\tb\t2012-07-01T00:02:52.5Z\t2012-07-01T00:02:53Z\n");
    }
}
