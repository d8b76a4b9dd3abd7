//! Answers on stdout (sentences, tables, JSON) and notes on stderr.
//!
//! A stdout that cannot be written (a closed pipe, a full disk) never ends a command between two of its writes: the first
//! failure is kept, further output is dropped, and `main` decides by [`failure`] how the process ends.

use std::io::{self, Write};
use std::mem::take;
use std::sync::OnceLock;
use std::time::Duration;

use clap::ValueEnum;
use comfy_table::{Cell, Color, ContentArrangement, Row, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use proto::Token;
use serde::Serialize;

/// Defines a JSON object and makes it from parts of an answer. Each field, with its value, is written once.
macro_rules! json_row {
    ($(#[$meta:meta])* $vis:vis struct $row:ident $(<$life:lifetime>)? from $($part:ident: $part_type:ty),+ {
        $($(#[$field_meta:meta])* $field:ident: $field_type:ty = $value:expr,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, serde::Serialize)]
        $vis struct $row $(<$life>)? {
            $($(#[$field_meta])* $vis $field: $field_type,)*
        }

        impl $(<$life>)? $row $(<$life>)? {
            $vis fn new($($part: $part_type),+) -> Self {
                Self { $($field: $value,)* }
            }
        }
    };
}
pub(crate) use json_row;

static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences, for people
    #[default]
    Text,
    /// JSON, for programs
    Json,
}

impl Format {
    /// Writes the result of a command that only reads.
    pub fn show(self, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self {
            Self::Json => json(value)?,
            Self::Text => line(text()),
        }
        Ok(())
    }

    /// Writes the result of a command that changes something, see [`answer`].
    pub fn answer(self, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        answer(match self {
            Self::Json => serde_json::to_string(value)?,
            Self::Text => text(),
        });
        Ok(())
    }
}

pub fn failure() -> Option<&'static io::Error> {
    FAILURE.get()
}

/// Whether stdout can still be written. A command that only reads stops when it cannot.
pub fn is_open() -> bool {
    failure().is_none()
}

/// Whether the reader of stdout has closed it, as `head` does.
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

pub fn line(text: impl AsRef<str>) {
    put(format!("{}\n", text.as_ref()).as_bytes());
}

/// Writes the result of a command that changes something. If stdout cannot be written, the result goes to stderr.
pub fn answer(text: impl AsRef<str>) {
    if !put(format!("{}\n", text.as_ref()).as_bytes()) {
        note(text);
    }
}

/// Writes a line to stderr. Ignores a failure, which cannot be reported anywhere; `eprintln!` would panic.
pub fn note(text: impl AsRef<str>) {
    let _ = io::stderr().write_all(format!("{}\n", text.as_ref()).as_bytes());
}

pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    json_rows(std::iter::once(value))
}

/// Writes JSON objects, one per line.
pub fn json_rows<T: Serialize>(rows: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, &row)?;
        text.push(b'\n');
    }
    put(&text);
    Ok(())
}

/// A table as text, without blanks around its lines. Without rows, the text is empty.
pub fn table<R: Into<Row>>(header: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        // Never fold rows: grep and awk read them too.
        .set_content_arrangement(ContentArrangement::Disabled)
        .add_rows(rows);
    if table.is_empty() {
        return String::new();
    }
    if !header.is_empty() {
        table.set_header(header);
    }
    table.discover_columns();
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Facts as text, one per line after its name.
pub fn facts(facts: impl IntoIterator<Item = (&'static str, String)>) -> String {
    table(&[], facts.into_iter().map(|(name, fact)| [name.to_owned(), fact]))
}

/// The rows of an answer that only reads: in JSON one object each, in text tables.
pub struct Rows {
    pub format: Format,
    header: Vec<&'static str>,
    cells: Vec<Row>,
}

impl Rows {
    pub fn new(format: Format, header: &[&'static str]) -> Self {
        Self { format, header: header.to_vec(), cells: Vec::new() }
    }

    /// Writes an object for each item, or adds a row to the table.
    pub fn add<T, J: Serialize, C: Into<Row>>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        object: impl Fn(T) -> J,
        cells: impl Fn(T) -> C,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Json => json_rows(items.into_iter().map(object))?,
            Format::Text => self.cells.extend(items.into_iter().map(|item| cells(item).into())),
        }
        Ok(())
    }

    /// Writes the table of the rows so far; only the first one has the header.
    pub fn flush(&mut self) {
        if !self.cells.is_empty() {
            line(table(&take(&mut self.header), take(&mut self.cells)));
        }
    }

    /// Writes the table, and in text the line below it.
    pub fn finish(mut self, below: impl FnOnce() -> String) {
        self.flush();
        if self.format == Format::Text {
            line(below());
        }
    }
}

/// A row that begins with a name, and continues with numbers.
pub fn numbers<N: ToString>(name: &str, numbers: impl IntoIterator<Item = N>) -> Vec<String> {
    let numbers = numbers.into_iter().map(|number| number.to_string());
    std::iter::once(name.to_owned()).chain(numbers).collect()
}

/// A cell with a verdict; red if it is bad.
pub fn verdict(text: &str, good: bool) -> Cell {
    let cell = Cell::new(text);
    if good { cell } else { cell.fg(Color::Red) }
}

/// Sets the look of a progress bar. `keys` adds keys of its own.
pub fn style(bar: &ProgressBar, template: &str, keys: impl FnOnce(ProgressStyle) -> ProgressStyle) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(keys(style));
    }
}

/// A number and its noun: `1 row`, `2 rows`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The revision of a token, if the token is valid.
pub fn revision(token: &str) -> Option<u64> {
    Token::parse(token).ok().map(|t| t.revision.0)
}

/// Whether a write changed something, in a word.
pub fn changed(changed: bool) -> &'static str {
    if changed { "changed" } else { "unchanged" }
}

/// A duration for people.
pub fn millis(ms: f64) -> String {
    if ms < 10_000.0 { format!("{ms:.2} ms") } else { format!("{:.1} s", ms / 1_000.0) }
}

/// A duration for programs: milliseconds, to the microsecond.
pub fn elapsed_ms(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// A duration of a message in milliseconds; `None` if it is missing or negative.
pub fn proto_ms(duration: Option<prost_types::Duration>) -> Option<f64> {
    Duration::try_from(duration?).ok().map(elapsed_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_plain_columns() {
        let rows = [["a", "12"], ["bcdef", "1"]];
        assert_eq!(table(&["USER", "FOLLOWERS"], rows), "USER   FOLLOWERS\na      12\nbcdef  1");
    }
}
