//! Dates as texts: RFC 3339, the format of PostgreSQL, or seconds since 1970.
//!
//! A number counts as a date only if it can hardly be anything else. A weight, a year or a flag must not become a day of
//! 1970, because the date of an edge cannot be changed later.

use prost_types::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::text::trimmed;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDate {
    /// PostgreSQL's infinity.
    #[error("must not be '{0}': leave it empty")]
    Infinite(String),
    /// A number of thirteen digits or more.
    #[error(
        "must be seconds since 1970, not '{0}': divide {unit} by {divisor}",
        unit = scale(.0).0,
        divisor = scale(.0).1
    )]
    Fraction(String),
    #[error(
        "must not be the number '{0}': seconds since 1970 have 9 or 10 digits; other dates are written like \
         2024-03-05T12:00:00Z"
    )]
    Number(String),
    /// A date outside the range of the contract.
    #[error("must be between the years 1 and 9999, not '{0}'")]
    Year(String),
    #[error("must be a date such as 2024-03-05T12:00:00Z, '2024-03-05 12:00:00+00' or 2024-03-05, not '{0}'")]
    Other(String),
}

/// Unit of a number of this length, and its divisor.
fn scale(number: &str) -> (&'static str, u64) {
    match number.len() {
        ..=14 => ("milliseconds", 1_000),
        15..=17 => ("microseconds", 1_000_000),
        _ => ("nanoseconds", 1_000_000_000),
    }
}

/// A date from a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// In the zone of the text.
    pub date: OffsetDateTime,
    /// The text had no time zone and was read as UTC.
    pub without_zone: bool,
}

#[expect(clippy::disallowed_methods, reason = "a command line knows no other clock")]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

pub fn parse(text: &str) -> Result<OffsetDateTime, InvalidDate> {
    read(text).map(|read| read.date)
}

/// Reads a date, and says whether it had a time zone.
pub fn read(text: &str) -> Result<Read, InvalidDate> {
    let text = trimmed(text);
    // A column of prose must not fill the file of refused rows.
    let shown = || text.chars().take(40).collect::<String>();
    if ["infinity", "inf"].contains(&text.trim_start_matches(['+', '-']).to_ascii_lowercase().as_str()) {
        return Err(InvalidDate::Infinite(shown()));
    }
    let (date, without_zone) = match text.parse::<f64>() {
        Ok(_) => (seconds(text)?, false),
        Err(_) => {
            let (rfc3339, without_zone) = as_rfc3339(text).ok_or_else(|| InvalidDate::Other(shown()))?;
            let date = OffsetDateTime::parse(&rfc3339, &Rfc3339);
            (date.map_err(|_| InvalidDate::Other(shown()))?, without_zone)
        }
    };
    // The contract has no year 0.
    let date = proto::timestamp::from_proto(&proto::timestamp::to_proto(date));
    Ok(Read { date: date.map_err(|_| InvalidDate::Year(shown()))?, without_zone })
}

fn seconds(text: &str) -> Result<OffsetDateTime, InvalidDate> {
    let only_digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.len() {
        9 | 10 if only_digits => {
            let seconds = text.parse().map_err(|_| InvalidDate::Number(text.to_owned()))?;
            OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| InvalidDate::Year(text.to_owned()))
        }
        12..=20 if only_digits => Err(InvalidDate::Fraction(text.to_owned())),
        _ => Err(InvalidDate::Number(text.chars().take(40).collect())),
    }
}

/// The same date in RFC 3339, and whether it had no time zone. ISO 8601 and PostgreSQL may leave out the time, the
/// seconds, the zone, its minutes, or the colon between them.
fn as_rfc3339(text: &str) -> Option<(String, bool)> {
    let (date, rest) = text.split_at_checked(10)?;
    if rest.is_empty() {
        return Some((format!("{date}T00:00:00Z"), true));
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(rest.len());
    let (time, zone) = rest.split_at(end);
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    let zone = zone.trim_start();
    let offset = match zone.as_bytes() {
        [] | [b'Z' | b'z'] | b"UTC" => "Z".to_owned(),
        [b'+' | b'-', _, _] => format!("{zone}:00"),
        [b'+' | b'-', _, _, _, _] => format!("{}:{}", zone.get(..3)?, zone.get(3..)?),
        _ => zone.to_owned(),
    };
    Some((format!("{date}T{time}{offset}"), zone.is_empty()))
}

/// Writes a date in RFC 3339. Dates outside the range of the contract give an empty text.
pub fn format(date: OffsetDateTime) -> String {
    date.format(&Rfc3339).unwrap_or_default()
}

/// Writes the date of an answer in RFC 3339.
pub fn format_proto(timestamp: Option<Timestamp>) -> Option<String> {
    proto::timestamp::from_proto(&timestamp?).ok().map(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_one_date_are_read() {
        for text in [
            "1341100972",
            "2012-07-01T00:02:52Z",
            "2012-07-01T02:02:52+02:00",
            "2012-07-01 00:02:52+00",
            "2012-07-01 02:02:52+02",
            "2012-07-01 05:32:52+0530",
            "2012-07-01 05:32:52+05:30",
            "2012-06-30 19:02:52-05",
            "2012-07-01t00:02:52z",
            "2012-07-01 00:02:52 UTC",
            "2012-07-01 00:02:52 +0000",
            "\u{feff}2012-07-01 00:02:52+00\r",
        ] {
            let read = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (format(read.date).as_str(), read.without_zone),
                ("2012-07-01T00:02:52Z", false),
                "{text}"
            );
        }
        assert_eq!(format(parse("123456789").unwrap()), "1973-11-29T21:33:09Z", "nine digits");
        for text in ["2012-07-01T00:02:52.0123456Z", "2012-07-01 00:02:52.0123456+00"] {
            assert_eq!(format(parse(text).unwrap()), "2012-07-01T00:02:52.012345Z");
        }
        assert_eq!(format(parse("2012-07-01 00:02:52.5+00").unwrap()), "2012-07-01T00:02:52.5Z");
    }

    #[test]
    fn a_date_without_a_zone_is_utc() {
        for (text, date) in [
            ("2024-03-05 12:00:00", "2024-03-05T12:00:00Z"),
            ("2024-03-05T12:00:00", "2024-03-05T12:00:00Z"),
            ("2024-03-05 12:00:00.25", "2024-03-05T12:00:00.25Z"),
            ("2024-03-05 12:00", "2024-03-05T12:00:00Z"),
            ("2024-03-05", "2024-03-05T00:00:00Z"),
        ] {
            let read = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((format(read.date).as_str(), read.without_zone), (date, true), "{text}");
        }
    }

    #[test]
    fn ambiguous_numbers_are_refused() {
        for text in
            ["1", "0", "-1", "2024", "20240115", "12345678901", "1341100972.5", "+1341100972", "1e9", "NaN"]
        {
            assert!(matches!(parse(text), Err(InvalidDate::Number(_))), "{text}: {:?}", parse(text));
        }
        let error = |text: &str| parse(text).unwrap_err().to_string();
        assert!(error("1341100972000").contains("divide milliseconds by 1000"), "{}", error("1341100972000"));
        assert!(error("1341100972000000").contains("divide microseconds by 1000000"));
        assert!(error("1341100972000000000").contains("divide nanoseconds by 1000000000"));
        assert!(error("20240115").contains("'20240115'"));
    }

    #[test]
    fn a_text_that_is_not_a_date_is_refused() {
        for text in ["infinity", "-infinity", "Infinity", "inf"] {
            assert_eq!(parse(text), Err(InvalidDate::Infinite(text.to_owned())));
        }
        for text in [
            "",
            "yesterday",
            "2012-13-01T00:00:00Z",
            "2012-07-01X00:02:52Z",
            "2012-07-01T",
            "2012-07-01 24:00:00+00",
            "2012-07-01 00:02:52+2",
            "2012-07-01 00:02:52+00 BC",
            "2012-07-01 00:02:52 CEST",
            "20120701T000252Z",
            "01/07/2012",
            "äöüäöüäöüä",
        ] {
            assert_eq!(parse(text), Err(InvalidDate::Other(text.to_owned())), "{text}");
        }
        assert!(matches!(parse("0000-01-01T00:00:00Z"), Err(InvalidDate::Year(_))));
        let long = "x".repeat(1_000);
        assert!(parse(&long).unwrap_err().to_string().len() < 200);
    }
}
