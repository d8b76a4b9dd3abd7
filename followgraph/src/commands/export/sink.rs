//! Where exported rows go: stdout or a file, plain or gzip, tsv, csv or ndjson.
//!
//! Owns the form of the rows. A regular file is written under a name of its own and
//! renamed at the end, so that half an export is never taken for a whole one.
//! Devices and pipes are written in place: a rename would put a file where they are.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use proto::query::v1::ExportedEdge;
use serde::Serialize;

use crate::args::{ExportArgs, Format, Rows};
use crate::{dates, files};

/// The form of the rows: as asked for, else by the file's name, else by -o.
pub fn rows(args: &ExportArgs, format: Format) -> Rows {
    let name = args.file.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let by_name = match name.rsplit_once('.') {
        Some((_, "tsv" | "tab")) => Some(Rows::Tsv),
        Some((_, "csv")) => Some(Rows::Csv),
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
    form: Form,
    to_stdout: bool,
    /// None if it is written in place.
    target: Option<Target>,
}

/// What rows look like.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// How they are written.
    pub rows: Rows,
    /// They have a column for when an edge runs out.
    pub may_expire: bool,
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
    /// Opens stdout for `-` and names of the same, else a file.
    pub fn open(path: &Path, form: Form) -> anyhow::Result<Self> {
        let cannot_write = |path: &Path| format!("cannot write {}", path.display());
        let to_stdout = files::is_stdout(path);
        let in_place =
            if to_stdout { None } else { files::in_place(path).with_context(|| cannot_write(path))? };
        let (raw, target): (Box<dyn Write + Send>, _) = match in_place {
            _ if to_stdout => (Box::new(io::stdout()), None),
            Some(file) => (Box::new(file), None),
            None => {
                // A link stays; the file that it leads to is replaced.
                let file = files::behind_links(path).with_context(|| cannot_write(path))?;
                let mut part = file.as_os_str().to_owned();
                part.push(".part");
                let part = PathBuf::from(part);
                let raw = File::create(&part).with_context(|| cannot_write(&part))?;
                (Box::new(raw), Some(Target { part, file }))
            }
        };
        let buffered = BufWriter::with_capacity(1 << 16, raw);
        let compressed = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        let writer = if compressed {
            Writer::Gzip(GzEncoder::new(buffered, Compression::default()))
        } else {
            Writer::Plain(buffered)
        };
        let mut sink = Self { writer, form, to_stdout, target };
        if let Some(separator) = separator(form.rows) {
            let names = ["source_id", "target_id", "created_at", "expires_at"];
            let columns = if form.may_expire { 4 } else { 3 };
            sink.put(format!("{}\n", names[..columns].join(separator)).as_bytes())?;
        }
        Ok(sink)
    }

    /// The rows go to stdout.
    pub fn is_stdout(&self) -> bool {
        self.to_stdout
    }

    /// Writes rows.
    pub fn write(&mut self, edges: &[ExportedEdge]) -> anyhow::Result<()> {
        let mut text = Vec::with_capacity(edges.len() * 128);
        for edge in edges {
            encode(&mut text, edge, self.form)?;
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

/// What is between columns, where there are columns. Ids and dates need no quotes.
fn separator(rows: Rows) -> Option<&'static str> {
    match rows {
        Rows::Tsv => Some("\t"),
        Rows::Csv => Some(","),
        Rows::Ndjson => None,
    }
}

fn encode(text: &mut Vec<u8>, edge: &ExportedEdge, form: Form) -> anyhow::Result<()> {
    let created_at = edge.created_at.as_ref().and_then(dates::format_proto);
    let expires_at = edge.expires_at.as_ref().and_then(dates::format_proto);
    match separator(form.rows) {
        Some(separator) => {
            let mut columns = vec![&edge.source_id, &edge.target_id];
            let (created_at, expires_at) = (created_at.unwrap_or_default(), expires_at.unwrap_or_default());
            columns.push(&created_at);
            // Without it an import would make the edge one for good.
            columns.extend(form.may_expire.then_some(&expires_at));
            for (index, column) in columns.into_iter().enumerate() {
                write!(text, "{}{column}", if index == 0 { "" } else { separator })?;
            }
            text.push(b'\n');
        }
        None => {
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
    use std::fs;
    use std::os::unix::fs::FileTypeExt as _;

    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};
    use crate::files::testing::Folder;

    const TSV: Form = Form { rows: Rows::Tsv, may_expire: false };
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
    fn a_link_still_leads_to_the_file() {
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
        assert_eq!(form(&["edges.CSV.gz", "-o", "json"]), Rows::Csv);
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
        let text = |edge: &ExportedEdge, rows, may_expire| {
            let mut text = Vec::new();
            encode(&mut text, edge, Form { rows, may_expire }).unwrap();
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
