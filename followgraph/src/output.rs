//! Answers on stdout: sentences, tables, JSON.
//!
//! Owns the look of tables and the line under every answer that says where it
//! came from. It must not know what was asked.
//!
//! Invariant: a stdout that cannot be written (a closed pipe, a full disk) never ends a command between two of its
//! writes. The first failure is kept, further output is dropped, and `main` decides by [`failure`] how the process ends.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use proto::Token;
use proto::query::v1::Source;
use serde::Serialize;

/// The first failure of stdout.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Why stdout can no longer be written.
pub fn failure() -> Option<&'static io::Error> {
    FAILURE.get()
}

/// Whether stdout can still be written. A command that only reads stops when it cannot.
pub fn is_open() -> bool {
    failure().is_none()
}

/// Whether the reader of stdout has gone, as `head` does when it has seen enough.
pub fn is_closed_pipe() -> bool {
    failure().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes to stdout while it is open; returns whether all of it was written.
fn put(text: &[u8]) -> bool {
    if !is_open() {
        return false;
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Ok(()) => true,
        Err(error) => {
            FAILURE.get_or_init(|| error);
            false
        }
    }
}

/// Writes a line.
pub fn line(text: impl AsRef<str>) {
    put(format!("{}\n", text.as_ref()).as_bytes());
}

/// Writes the answer of a command that changes something; to stderr if stdout cannot be written, so that it is not lost.
pub fn answer(text: impl AsRef<str>) {
    if !put(format!("{}\n", text.as_ref()).as_bytes()) {
        note(text);
    }
}

/// Writes a line to stderr. If that fails there is nowhere left to say so, and `eprintln!` would panic.
pub fn note(text: impl AsRef<str>) {
    let _ = io::stderr().write_all(format!("{}\n", text.as_ref()).as_bytes());
}

/// Writes one JSON object.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    json_rows(std::iter::once(value))
}

/// Writes the answer of a command that changes something as one JSON object, like [`answer`].
pub fn json_answer(value: &impl Serialize) -> anyhow::Result<()> {
    answer(serde_json::to_string(value)?);
    Ok(())
}

/// Writes JSON objects, one a line.
pub fn json_rows<T: Serialize>(rows: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, &row)?;
        text.push(b'\n');
    }
    put(&text);
    Ok(())
}

/// A table with a header.
pub fn table(header: &[&str]) -> Table {
    let mut table = headless_table();
    table.set_header(header.to_vec());
    table
}

/// A table without one, for the further pages of a list.
pub fn headless_table() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        // Rows are for grep and awk too: never folded.
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// A table as text, without blanks at the beginnings and ends of its lines.
pub fn table_text(mut table: Table) -> String {
    table.discover_columns();
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// The revision that a token stands for, if it can be read.
pub fn revision(token: &str) -> Option<u64> {
    Token::parse(token).ok().map(|t| t.revision.0)
}

/// The name of a source.
pub fn source_name(source: Source) -> &'static str {
    match source {
        Source::Neo4j => "neo4j",
        Source::Postgres => "postgres",
        Source::Unspecified => "unknown",
    }
}

/// Where an answer came from: of one call, or of several that make one answer.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    sources: BTreeSet<&'static str>,
    oldest: Option<u64>,
    newest: Option<u64>,
    calls: u32,
    elapsed: Duration,
}

impl Origin {
    /// The origin of one call.
    pub fn of(source: Source, as_of: &str, elapsed: Duration) -> Self {
        let mut origin = Self::default();
        origin.add(source, as_of, elapsed);
        origin
    }

    /// Counts one more call in.
    pub fn add(&mut self, source: Source, as_of: &str, elapsed: Duration) {
        self.sources.insert(source_name(source));
        if let Some(revision) = revision(as_of) {
            self.oldest = Some(self.oldest.map_or(revision, |old| old.min(revision)));
            self.newest = Some(self.newest.map_or(revision, |new| new.max(revision)));
        }
        self.calls += 1;
        self.elapsed += elapsed;
    }

    /// The line under an answer.
    pub fn text(&self) -> String {
        let sources: Vec<_> = self.sources.iter().copied().collect();
        let revision = match (self.oldest, self.newest) {
            (Some(old), Some(new)) if old != new => format!("revisions {old} to {new}"),
            (Some(only), _) => format!("revision {only}"),
            (None, _) => "revision unknown".to_owned(),
        };
        let calls = match self.calls {
            0 | 1 => String::new(),
            n => format!(" in {n} calls"),
        };
        format!("source {}   {revision}   time {}{calls}", sources.join(" and "), millis(self.elapsed))
    }
}

/// Whether a write has changed something.
pub fn changed(changed: bool) -> &'static str {
    if changed { "changed" } else { "unchanged" }
}

/// The line under the answer of a write.
pub fn written(revision: Option<u64>, elapsed_ms: f64, token: &str) -> String {
    let revision = revision.map_or_else(|| "unknown".to_owned(), |r| r.to_string());
    format!("source postgres   revision {revision}   time {elapsed_ms:.2} ms   token {token}")
}

/// A short time for people.
pub fn millis(elapsed: Duration) -> String {
    let ms = elapsed.as_secs_f64() * 1_000.0;
    if ms < 10_000.0 { format!("{ms:.2} ms") } else { format!("{:.1} s", ms / 1_000.0) }
}

/// A time for programs: milliseconds, to the microsecond.
pub fn elapsed_ms(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVISION_901: &str = "1.0000000000000001.0000000000000385";
    const REVISION_902: &str = "1.0000000000000001.0000000000000386";

    #[test]
    fn an_answer_says_where_it_came_from() {
        let mut origin = Origin::of(Source::Neo4j, REVISION_901, Duration::from_micros(1_240));
        assert_eq!(origin.text(), "source neo4j   revision 901   time 1.24 ms");
        origin.add(Source::Postgres, REVISION_902, Duration::from_millis(2));
        assert_eq!(
            origin.text(),
            "source neo4j and postgres   revisions 901 to 902   time 3.24 ms in 2 calls"
        );
    }

    #[test]
    fn a_foreign_token_is_no_reason_to_fail() {
        let origin = Origin::of(Source::Unspecified, "", Duration::ZERO);
        assert_eq!(origin.text(), "source unknown   revision unknown   time 0.00 ms");
    }

    #[test]
    fn tables_are_plain_columns() {
        let mut table = table(&["USER", "FOLLOWERS"]);
        table.add_row(["a", "12"]);
        table.add_row(["bcdef", "1"]);
        assert_eq!(table_text(table), "USER   FOLLOWERS\na      12\nbcdef  1");
    }
}
