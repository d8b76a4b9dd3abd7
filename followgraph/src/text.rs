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

/// What is wrong with a line that has a CR in it. Taken as one line, a file of such lines could be all comment.
pub const CR_ALONE: &str = "lines end with CR alone: write LF (tr '\\r' '\\n')";

/// So many bytes are searched for those of another encoding.
const ENCODING_BYTES: usize = 1_024;

/// The encoding of these first bytes, if it is not UTF-8: by its mark, or without one by the zero bytes beside ASCII.
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

    #[test]
    fn other_encodings_are_known_by_their_zero_bytes() {
        assert_eq!(other_encoding(b"1\0\t\x002\0\n"), Some("UTF-16LE"));
        assert_eq!(other_encoding(b"\x001\0\t\x002\0\n"), Some("UTF-16BE"));
        assert_eq!(other_encoding(b"1\0\0\0\t\0\0\0"), Some("UTF-32LE"));
        assert_eq!(other_encoding(b"\0\0\x001\0\0\0\t"), Some("UTF-32BE"));
        assert_eq!(other_encoding(b"\xff\xfe\0\x001\0\0\0"), Some("UTF-32LE"));
        assert_eq!(other_encoding(b"\x2d\x4e1\0\n\0"), Some("UTF-16LE"), "the first letter is not ASCII");
        assert_eq!(other_encoding(b"1\t2\n"), None);
    }
}
