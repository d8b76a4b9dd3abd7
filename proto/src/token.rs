//! The consistency token: (epoch, revision) as text.
//!
//! Opaque to clients, of fixed width, and comparable byte by byte within an epoch:
//! `1.<epoch>.<revision>`, both as 16 lower-case hexadecimal digits.

use std::fmt;

use crate::ids::{Epoch, Revision};

const VERSION: &str = "1";

/// A point of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The history.
    pub epoch: Epoch,
    /// The point.
    pub revision: Revision,
}

/// A text that is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a consistency token")]
pub struct InvalidToken;

impl Token {
    /// The token of a revision.
    pub fn new(epoch: Epoch, revision: Revision) -> Self {
        Self { epoch, revision }
    }

    /// Reads what [`fmt::Display`] wrote; nothing else is taken.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let digits = text.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix('.'));
        let (epoch, revision) = digits.and_then(|digits| digits.split_once('.')).ok_or(InvalidToken)?;
        let revision = Revision(parse_hex(revision)?);
        if revision > Revision::MAX {
            return Err(InvalidToken);
        }
        Ok(Self { epoch: Epoch(parse_hex(epoch)?), revision })
    }
}

/// Strict: `from_str_radix` would also take a sign and capitals, and two texts of
/// one token would not compare.
fn parse_hex(text: &str) -> Result<u64, InvalidToken> {
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 16 || !text.bytes().all(lower_hex) {
        return Err(InvalidToken);
    }
    u64::from_str_radix(text, 16).map_err(|_| InvalidToken)
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{:016x}.{:016x}", self.epoch.0, self.revision.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: usize = 1 + 1 + 16 + 1 + 16;

    proptest! {
        #[test]
        fn round_trips(epoch: u64, revision in 0..=Revision::MAX.0) {
            let token = Token::new(Epoch(epoch), Revision(revision));
            prop_assert_eq!(Token::parse(&token.to_string()), Ok(token));
        }

        #[test]
        fn texts_compare_as_revisions_do(epoch: u64, a in 0..=Revision::MAX.0, b in 0..=Revision::MAX.0) {
            let text = |r| Token::new(Epoch(epoch), Revision(r)).to_string();
            prop_assert_eq!(a.cmp(&b), text(a).cmp(&text(b)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(token.to_string(), text);
            }
        }

        #[test]
        fn near_misses_are_refused_or_the_same(position in 0usize..LENGTH, byte in 0x20u8..0x7f) {
            let mut text = Token::new(Epoch(1), Revision(901)).to_string().into_bytes();
            text[position] = byte;
            let text = String::from_utf8(text).unwrap();
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }

    #[test]
    fn golden() {
        assert_eq!(Token::new(Epoch(1), Revision(901)).to_string(), "1.0000000000000001.0000000000000385");
    }
}
