//! Texts as files and shells give them: with blanks and a byte order mark around what is meant.
//!
//! Every id, token, date and line goes through here, so that an editor's invisible bytes never make it another one.

/// What editors and spreadsheets put at the beginning of UTF-8 text. No white space to Unicode, so `trim` leaves it.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text without blanks and byte order marks at its ends.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK)
}

/// Reads an argument that is taken as it is, such as a token that a file holds.
pub fn argument(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(trimmed(text).to_owned())
}

/// The encoding that these first bytes announce, if it is not UTF-8.
pub fn other_encoding(start: &[u8]) -> Option<&'static str> {
    match start {
        [0xff, 0xfe, ..] => Some("UTF-16LE"),
        [0xfe, 0xff, ..] => Some("UTF-16BE"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_bytes_around_a_text_do_not_count() {
        assert_eq!(trimmed("\u{feff}\u{feff} 88\r\n"), "88");
        assert_eq!(trimmed("\n\u{feff}"), "");
        assert_eq!(trimmed("a \u{feff}b"), "a \u{feff}b", "inside it is part of the text");
    }

    #[test]
    fn other_encodings_are_known_by_their_mark() {
        assert_eq!(other_encoding(b"\xff\xfe1\0"), Some("UTF-16LE"));
        assert_eq!(other_encoding(b"\xfe\xff\x001"), Some("UTF-16BE"));
        assert_eq!(other_encoding(b"\xef\xbb\xbf1"), None);
        assert_eq!(other_encoding(b""), None);
    }
}
