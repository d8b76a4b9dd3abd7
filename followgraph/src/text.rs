//! Texts from files, shells and variables, which may have blanks and a byte order mark around them.
//!
//! Every id, token, date and line is trimmed here, so that an editor's invisible bytes never change its meaning.

use std::time::Duration;

/// Editors and spreadsheets write it before UTF-8 text. Unicode does not count it as white space, so `trim` leaves it.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text without blanks and byte order marks at its ends.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK)
}

/// Reads an argument that is passed on, such as a token.
pub fn argument(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(trimmed(text).to_owned())
}

/// Reads a number of seconds such as `10` or `0.5`.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|s: &f64| *s > 0.0)
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .ok_or_else(|| "must be a number of seconds above 0".to_owned())
}

/// The error about a CR within a line. Read as one line, a file with such line ends could be a single comment.
pub const CR_ALONE: &str = "lines end with CR alone: write LF (tr '\\r' '\\n')";

/// Bytes in which [`other_encoding`] looks for zero bytes.
const ENCODING_BYTES: usize = 1_024;

/// The encoding of these first bytes, if it is not UTF-8. The byte order mark tells it, or the zero bytes next to ASCII.
pub fn other_encoding(start: &[u8]) -> Option<&'static str> {
    match start {
        [0xff, 0xfe, 0, 0, ..] => return Some("UTF-32LE"),
        [0xff, 0xfe, ..] => return Some("UTF-16LE"),
        [0xfe, 0xff, ..] => return Some("UTF-16BE"),
        _ => {}
    }
    let zero = start.iter().take(ENCODING_BYTES).position(|byte| *byte == 0)?;
    let another = start.get(zero + 1) == Some(&0);
    Some(match (zero % 2, another) {
        (0, false) => "UTF-16BE",
        (0, true) => "UTF-32BE",
        (_, false) => "UTF-16LE",
        (_, true) => "UTF-32LE",
    })
}

/// Parses the arguments of one command.
#[cfg(test)]
pub fn parse_args<A: clap::Args>(args: &[&str]) -> Result<A, clap::Error> {
    let command = A::augment_args(clap::Command::new("test").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(args)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_bytes_around_a_text_are_ignored() {
        assert_eq!(trimmed("\u{feff}\u{feff} 88\r\n"), "88");
        assert_eq!(trimmed("\n\u{feff}"), "");
        assert_eq!(trimmed("a \u{feff}b"), "a \u{feff}b", "inside it is part of the text");
    }

    #[test]
    fn other_encodings_have_a_byte_order_mark() {
        assert_eq!(other_encoding(b"\xff\xfe1\0"), Some("UTF-16LE"));
        assert_eq!(other_encoding(b"\xfe\xff\x001"), Some("UTF-16BE"));
        assert_eq!(other_encoding(b"\xef\xbb\xbf1"), None);
        assert_eq!(other_encoding(b""), None);
    }

    #[test]
    fn other_encodings_have_zero_bytes() {
        assert_eq!(other_encoding(b"1\0\t\x002\0\n"), Some("UTF-16LE"));
        assert_eq!(other_encoding(b"\x001\0\t\x002\0\n"), Some("UTF-16BE"));
        assert_eq!(other_encoding(b"1\0\0\0\t\0\0\0"), Some("UTF-32LE"));
        assert_eq!(other_encoding(b"\0\0\x001\0\0\0\t"), Some("UTF-32BE"));
        assert_eq!(other_encoding(b"\xff\xfe\0\x001\0\0\0"), Some("UTF-32LE"));
        assert_eq!(other_encoding(b"\x2d\x4e1\0\n\0"), Some("UTF-16LE"), "the first letter is not ASCII");
        assert_eq!(other_encoding(b"1\t2\n"), None);
    }
}
