//! One line of the input: an edge, or why it is none.
//!
//! Owns the checks that need no server; they give the same reasons as the service
//! does. It must not know where lines come from.

use csv::ByteRecord;
use proto::error::{Reason, reason_name};
use time::OffsetDateTime;

use crate::dates;
use crate::ids::{Id, InvalidText};

/// An edge to import.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The line that it stands in, from 1.
    pub line: u64,
    /// Who follows.
    pub source: Id,
    /// Who is followed.
    pub target: Id,
    /// Since when, if the row says so.
    pub created_at: Option<OffsetDateTime>,
    /// Until when, if the row says so: mutes and blocks alone may.
    pub expires_at: Option<OffsetDateTime>,
}

/// A line that is not imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The line, from 1.
    pub line: u64,
    /// Why, as the service would say.
    pub reason: &'static str,
    /// The same in words.
    pub message: String,
    /// The line itself, its columns separated by tabs.
    pub row: String,
}

/// What a line turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// An edge.
    Edge(Row),
    /// None.
    Refused(Refused),
}

impl Row {
    /// A refusal of this row by the service.
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

/// Reads a line: two ids, and a date if there is a third column with something in
/// it. Where edges may run out, a fourth column says when.
pub fn parse(line: u64, columns: &ByteRecord, may_expire: bool) -> Line {
    match parse_edge(line, columns, may_expire) {
        Ok(row) => Line::Edge(row),
        Err((reason, message)) => {
            let columns: Vec<_> = columns.iter().map(String::from_utf8_lossy).collect();
            Line::Refused(Refused { line, reason: reason_name(reason), message, row: columns.join("\t") })
        }
    }
}

/// Whether a first line is a header: it has columns, and none of the ids is one.
pub fn is_header(columns: &ByteRecord) -> bool {
    let is_name = |index| match column(columns, index) {
        Ok(text) => text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.parse::<Id>().is_err(),
        Err(_) => false,
    };
    is_name(0) && is_name(1)
}

fn parse_edge(line: u64, columns: &ByteRecord, may_expire: bool) -> Result<Row, (Reason, String)> {
    let source = parse_id(columns, 0, "source_id")?;
    let target = parse_id(columns, 1, "target_id")?;
    if source.user() == target.user() {
        let message = "target_id must be another account than source_id";
        return Err((Reason::SelfEdge, message.to_owned()));
    }
    let created_at = parse_date(columns, 2, "created_at")?;
    let expires_at = if may_expire { parse_date(columns, 3, "expires_at")? } else { None };
    Ok(Row { line, source, target, created_at, expires_at })
}

fn parse_date(
    columns: &ByteRecord,
    index: usize,
    name: &str,
) -> Result<Option<OffsetDateTime>, (Reason, String)> {
    let invalid = |e: dates::InvalidDate| (Reason::InvalidTimestamp, format!("{name} {e}"));
    match column(columns, index) {
        Ok("") => Ok(None),
        Ok(text) => dates::parse(text).map(Some).map_err(invalid),
        Err(NotText) => Err(invalid(dates::InvalidDate)),
    }
}

fn parse_id(columns: &ByteRecord, index: usize, name: &str) -> Result<Id, (Reason, String)> {
    let parsed = match column(columns, index) {
        Ok(text) => text.parse(),
        Err(NotText) => Err(InvalidText::Neither),
    };
    parsed.map_err(|error| {
        let reason = match error {
            InvalidText::Empty => Reason::FieldRequired,
            InvalidText::TooLarge | InvalidText::Neither => Reason::InvalidUuid,
            InvalidText::Nil => Reason::NilUuid,
        };
        (reason, format!("{name} {error}"))
    })
}

/// Bytes that are not UTF-8.
struct NotText;

/// A column without the blanks around it; empty where there is none.
fn column(columns: &ByteRecord, index: usize) -> Result<&str, NotText> {
    let bytes = columns.get(index).unwrap_or_default();
    std::str::from_utf8(bytes).map(str::trim).map_err(|_| NotText)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(columns: &[&str]) -> Line {
        parse(7, &ByteRecord::from(columns.to_vec()), false)
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
        };
        assert_eq!(read(&["2", " 314 "]), Line::Edge(expected.clone()));
        assert_eq!(read(&["2", "314", "", "more"]), Line::Edge(expected.clone()));
        let date = OffsetDateTime::from_unix_timestamp(1_341_100_972).unwrap();
        let dated = Row { created_at: Some(date), ..expected };
        assert_eq!(read(&["2", "314", "1341100972"]), Line::Edge(dated));
    }

    #[test]
    fn a_fourth_column_says_when_a_mute_or_block_runs_out() {
        let columns = ByteRecord::from(vec!["2", "314", "", "1341100972"]);
        let Line::Edge(row) = parse(7, &columns, true) else { panic!("refused") };
        assert_eq!(row.expires_at, OffsetDateTime::from_unix_timestamp(1_341_100_972).ok());
        assert_eq!(row.refused(Reason::Blocked, String::new()).row, "2\t314\t\t2012-07-01T00:02:52Z");
        let columns = ByteRecord::from(vec!["2", "314", "", "never"]);
        assert!(matches!(
            parse(7, &columns, true),
            Line::Refused(Refused { reason: "INVALID_TIMESTAMP", .. })
        ));
        assert!(matches!(parse(7, &columns, false), Line::Edge(_)), "of a follow it is just a column");
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
    fn bytes_that_are_no_text_are_refused() {
        let columns = ByteRecord::from(vec![&b"\xff"[..], b"2"]);
        assert!(matches!(parse(1, &columns, false), Line::Refused(Refused { reason: "INVALID_UUID", .. })));
    }

    #[test]
    fn a_header_has_names_for_both_ids() {
        let header = |columns: &[&str]| is_header(&ByteRecord::from(columns.to_vec()));
        assert!(header(&["follower_id", "following_id", "created_at"]));
        assert!(!header(&["2", "following_id"]));
        assert!(!header(&["bob", "3"]));
        assert!(!header(&["follower_id"]));
        assert!(!header(&["-1", "-2"]));
        assert!(!header(&["f47ac10b-58cc-4372-a567-0e02b2c3d479", "a47ac10b-58cc-4372-a567-0e02b2c3d479"]));
    }

    #[test]
    fn a_row_that_the_service_refuses_is_shown_as_it_was() {
        let Line::Edge(row) = read(&["2", "314", "1341100972"]) else {
            panic!("refused");
        };
        let refused = row.refused(Reason::EdgeExists, "exists".to_owned());
        assert_eq!(refused.reason, "EDGE_EXISTS");
        assert_eq!(refused.row, "2\t314\t2012-07-01T00:02:52Z");
    }
}
