//! A line of the input: an edge, or a refused row. The checks need no server and give the reasons of the service.

use csv::ByteRecord;
use proto::error::{Reason, reason_name};
use time::OffsetDateTime;

use super::header::Columns;
use crate::dates;
use crate::ids::{Id, InvalidText};
use crate::text::trimmed;

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Line number, from 1.
    pub line: u64,
    pub source: Id,
    pub target: Id,
    /// Date, if the row has one.
    pub created_at: Option<OffsetDateTime>,
    /// Expiry time, if the row has one; only of mutes and blocks.
    pub expires_at: Option<OffsetDateTime>,
    /// Whether one of its dates had no time zone and was read as UTC.
    pub without_zone: bool,
}

/// Reason of a row over several lines, which the service does not have.
pub const SEVERAL_LINES: &str = "SEVERAL_LINES";

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line} is refused: {message} ({reason})")]
pub struct Refused {
    /// Line number, from 1.
    pub line: u64,
    /// Reason of the service, or [`SEVERAL_LINES`].
    pub reason: &'static str,
    pub message: String,
    /// The row with its columns separated by tabs.
    pub row: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    Edge(Row),
    Refused(Refused),
}

impl Row {
    /// This row as a refused one.
    pub fn refused(&self, reason: Reason, message: String) -> Refused {
        let mut row = format!("{}\t{}", self.source, self.target);
        let both = [self.created_at, self.expires_at];
        let columns = both.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        for date in &both[..columns] {
            row.push('\t');
            row.push_str(&date.map(dates::format).unwrap_or_default());
        }
        Refused { line: self.line, reason: reason_name(reason), message, row }
    }
}

/// Parses a line: two ids, and optional dates.
pub fn parse(line: u64, cells: &ByteRecord, columns: &Columns) -> Line {
    match parse_edge(line, cells, columns) {
        Ok(row) => Line::Edge(row),
        Err((reason, message)) => {
            let row = shown(cells, columns);
            Line::Refused(Refused { line, reason: reason_name(reason), message, row })
        }
    }
}

/// Refuses a row of several lines.
pub fn over_lines(first: u64, last: u64, cells: &ByteRecord, columns: &Columns) -> Line {
    let message = format!("the row continues to line {last}: a quoted field has line ends");
    Line::Refused(Refused { line: first, reason: SEVERAL_LINES, message, row: shown(cells, columns) })
}

/// The columns of a refused row: unchanged if they have their default positions, else in that order.
fn shown(cells: &ByteRecord, columns: &Columns) -> String {
    // A tab in a cell of CSV would end a column in the file of refused rows.
    let text =
        |index: usize| String::from_utf8_lossy(cells.get(index).unwrap_or_default()).replace('\t', " ");
    let Columns { source, target, created_at, expires_at, in_place } = *columns;
    let texts: Vec<_> = if in_place {
        (0..cells.len()).map(text).collect()
    } else {
        let dates = [created_at, expires_at].map(|index| index.map(text).unwrap_or_default());
        let used = dates.iter().rposition(|date| !date.is_empty()).map_or(0, |last| last + 1);
        [text(source), text(target)].into_iter().chain(dates.into_iter().take(used)).collect()
    };
    texts.join("\t")
}

fn parse_edge(line: u64, cells: &ByteRecord, columns: &Columns) -> Result<Row, (Reason, String)> {
    let source = parse_id(cells, columns.source, "source_id")?;
    let target = parse_id(cells, columns.target, "target_id")?;
    if source.user() == target.user() {
        let message = "target_id must be another account than source_id";
        return Err((Reason::SelfEdge, message.to_owned()));
    }
    let created_at = parse_date(cells, columns.created_at, "created_at")?;
    let expires_at = parse_date(cells, columns.expires_at, "expires_at")?;
    let date = |read: Option<dates::Read>| read.map(|read| read.date);
    Ok(Row {
        line,
        source,
        target,
        created_at: date(created_at),
        expires_at: date(expires_at),
        without_zone: created_at.iter().chain(&expires_at).any(|read| read.without_zone),
    })
}

fn parse_date(
    cells: &ByteRecord,
    index: Option<usize>,
    name: &str,
) -> Result<Option<dates::Read>, (Reason, String)> {
    let invalid = |error| (Reason::InvalidTimestamp, format!("{name} {error}"));
    let Some(index) = index else { return Ok(None) };
    match column(cells, index) {
        Some("" | NULL) => Ok(None),
        Some(text) => dates::read(text).map(Some).map_err(|error| invalid(error.to_string())),
        None => Err(invalid("is not UTF-8".to_owned())),
    }
}

fn parse_id(cells: &ByteRecord, index: usize, name: &str) -> Result<Id, (Reason, String)> {
    let text = column(cells, index);
    text.map_or(Err(InvalidText::Neither), str::parse).map_err(|error| {
        let text = match text {
            Some(text) if !text.is_empty() => {
                format!(", not '{}'", text.chars().take(40).collect::<String>())
            }
            _ => String::new(),
        };
        let reason = match error {
            InvalidText::Empty => Reason::FieldRequired,
            InvalidText::TooLarge | InvalidText::Neither => Reason::InvalidUuid,
            InvalidText::Nil => Reason::NilUuid,
        };
        (reason, format!("{name} {error}{text}"))
    })
}

/// NULL in the output of PostgreSQL's COPY.
const NULL: &str = "\\N";

/// A trimmed column; empty if it is missing, `None` if it is not UTF-8.
fn column(cells: &ByteRecord, index: usize) -> Option<&str> {
    let bytes = cells.get(index).unwrap_or_default();
    std::str::from_utf8(bytes).map(trimmed).ok()
}

#[cfg(test)]
mod tests {
    use proto::graph::v1::EdgeKind;

    use super::*;

    const FOLLOW: EdgeKind = EdgeKind::Follow;
    const MUTE: EdgeKind = EdgeKind::Mute;

    fn parse(line: u64, cells: &ByteRecord, kind: EdgeKind) -> Line {
        super::parse(line, cells, &Columns::in_place(kind))
    }

    fn read(columns: &[&str]) -> Line {
        parse(7, &ByteRecord::from(columns.to_vec()), FOLLOW)
    }

    fn reason(columns: &[&str]) -> &'static str {
        match read(columns) {
            Line::Refused(refused) => {
                assert_eq!((refused.line, refused.row), (7, columns.join("\t")));
                refused.reason
            }
            Line::Edge(row) => panic!("taken: {row:?}"),
        }
    }

    #[test]
    fn two_ids_and_a_date() {
        let expected = Row {
            line: 7,
            source: "2".parse().unwrap(),
            target: "314".parse().unwrap(),
            created_at: None,
            expires_at: None,
            without_zone: false,
        };
        assert_eq!(read(&["2", " 314 "]), Line::Edge(expected.clone()));
        assert_eq!(read(&["2", "314", "", "more"]), Line::Edge(expected.clone()));
        let date = OffsetDateTime::from_unix_timestamp(1_341_100_972).unwrap();
        assert_eq!(read(&["2", "314", "\\N"]), Line::Edge(expected.clone()), "NULL of a dump");
        let dated = Row { created_at: Some(date), ..expected };
        assert_eq!(read(&["2", "314", "1341100972"]), Line::Edge(dated.clone()));
        let without_zone = Row { without_zone: true, ..dated };
        assert_eq!(read(&["2", "314", "2012-07-01 00:02:52"]), Line::Edge(without_zone));
    }

    #[test]
    fn a_fourth_column_is_the_expiry_time() {
        let columns = ByteRecord::from(vec!["2", "314", "", "1341100972"]);
        let Line::Edge(row) = parse(7, &columns, MUTE) else { panic!("refused") };
        assert_eq!(row.expires_at, OffsetDateTime::from_unix_timestamp(1_341_100_972).ok());
        assert_eq!(row.refused(Reason::Blocked, String::new()).row, "2\t314\t\t2012-07-01T00:02:52Z");
        let columns = ByteRecord::from(vec!["2", "314", "", "never"]);
        assert!(matches!(
            parse(7, &columns, MUTE),
            Line::Refused(Refused { reason: "INVALID_TIMESTAMP", .. })
        ));
        assert!(matches!(parse(7, &columns, FOLLOW), Line::Edge(_)), "a follow ignores it");
    }

    #[test]
    fn bad_rows_have_the_reasons_of_the_service() {
        assert_eq!(reason(&["2"]), "FIELD_REQUIRED");
        assert_eq!(reason(&["", "2"]), "FIELD_REQUIRED");
        assert_eq!(reason(&["2", "bob"]), "INVALID_UUID");
        assert_eq!(reason(&["2", "2"]), "SELF_EDGE");
        assert_eq!(reason(&["2", "002"]), "SELF_EDGE");
        assert_eq!(reason(&["2", "3", "soon"]), "INVALID_TIMESTAMP");
        assert_eq!(reason(&["2", "00000000-0000-0000-0000-000000000000"]), "NIL_UUID");
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        let columns = ByteRecord::from(vec![&b"\xff"[..], b"2"]);
        assert!(matches!(parse(1, &columns, FOLLOW), Line::Refused(Refused { reason: "INVALID_UUID", .. })));
    }

    #[test]
    fn refused_rows_have_the_default_order() {
        let columns =
            Columns { source: 2, target: 1, created_at: Some(0), expires_at: Some(3), in_place: false };
        let shown = |cells: &[&str]| match super::parse(7, &ByteRecord::from(cells.to_vec()), &columns) {
            Line::Refused(refused) => (refused.reason, refused.row),
            Line::Edge(row) => panic!("taken: {row:?}"),
        };
        assert_eq!(shown(&["soon", "3", "2"]), ("INVALID_TIMESTAMP", "2\t3\tsoon".to_owned()));
        assert_eq!(shown(&["", "x", "2", "soon"]), ("INVALID_UUID", "2\tx\t\tsoon".to_owned()));
        assert_eq!(shown(&["", "3", "3", ""]), ("SELF_EDGE", "3\t3".to_owned()));
        assert_eq!(shown(&["", "3\t4", "2"]), ("INVALID_UUID", "2\t3 4".to_owned()), "as many columns");
    }

    #[test]
    fn refusals_name_the_value() {
        let message = |columns: &[&str]| match read(columns) {
            Line::Refused(refused) => refused.message,
            Line::Edge(row) => panic!("taken: {row:?}"),
        };
        assert_eq!(message(&["2", "bob"]), "target_id must be a UUID or an integer, not 'bob'");
        assert_eq!(message(&["", "2"]), "source_id is required");
        assert!(message(&["2", "3", "20240115"]).contains("'20240115'"));
    }

    #[test]
    fn a_row_refused_by_the_service_is_unchanged() {
        let Line::Edge(row) = read(&["2", "314", "1341100972"]) else {
            panic!("refused");
        };
        let refused = row.refused(Reason::EdgeExists, "exists".to_owned());
        assert_eq!(refused.reason, "EDGE_EXISTS");
        assert_eq!(refused.row, "2\t314\t2012-07-01T00:02:52Z");
    }
}
