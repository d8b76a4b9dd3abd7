//! Dates as texts: RFC 3339, or seconds since 1970 where a program wrote them.
//!
//! Owns both directions. What can go wrong: a text that is neither, or a year
//! beyond 9999 (milliseconds taken for seconds, for example).

use prost_types::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A text that is not a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a date as in RFC 3339, or seconds since 1970, between the years 1 and 9999")]
pub struct InvalidDate;

/// This machine's time.
#[expect(clippy::disallowed_methods, reason = "a command line knows no other clock")]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Reads a date.
pub fn parse(text: &str) -> Result<OffsetDateTime, InvalidDate> {
    let date = match text.parse() {
        Ok(seconds) => OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| InvalidDate)?,
        Err(_) => OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidDate)?,
    };
    // The contract knows no year 0.
    proto::timestamp::from_proto(&proto::timestamp::to_proto(date)).map_err(|_| InvalidDate)
}

/// Writes a date; empty if it cannot be written, which no date of the contract is.
pub fn format(date: OffsetDateTime) -> String {
    date.format(&Rfc3339).unwrap_or_default()
}

/// Writes the date of an answer.
pub fn format_proto(timestamp: &Timestamp) -> Option<String> {
    proto::timestamp::from_proto(timestamp).ok().map(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for text in ["1341100972", "2012-07-01T00:02:52Z", "2012-07-01T02:02:52+02:00"] {
            assert_eq!(format(parse(text).unwrap()), "2012-07-01T00:02:52Z", "{text}");
        }
        assert_eq!(format(parse("-1").unwrap()), "1969-12-31T23:59:59Z");
        assert_eq!(format(parse("2012-07-01T00:02:52.0123456Z").unwrap()), "2012-07-01T00:02:52.012345Z");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["", "yesterday", "2012-13-01T00:00:00Z", "1341100972000", "0000-01-01T00:00:00Z"] {
            assert_eq!(parse(text), Err(InvalidDate), "{text}");
        }
    }
}
