//! Account ids: UUIDs, or integers of another system, which stand for UUIDs.

use std::fmt;
use std::str::FromStr;

use proto::ids::{InvalidId, UserId};
use uuid::Uuid;

/// Namespace of the UUIDv5 of an integer: 6ba7b812-9dad-11d1-80b4-00c04fd430c8.
const NAMESPACE: Uuid = Uuid::NAMESPACE_OID;

/// An account id that keeps the form in which it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    user: UserId,
    integer: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    #[error("is required")]
    Empty,
    #[error("must be at most 18446744073709551615")]
    TooLarge,
    #[error("must be a UUID or an integer")]
    Neither,
    #[error("must not be the nil UUID")]
    Nil,
}

impl Id {
    pub fn user(self) -> UserId {
        self.user
    }
}

/// The UUIDs of several ids, as messages take them.
pub fn texts<'a>(ids: impl IntoIterator<Item = &'a Id>) -> Vec<String> {
    ids.into_iter().map(|id| id.user().to_string()).collect()
}

/// The UUID of an optional id; empty without one.
pub fn text_or_empty(id: Option<Id>) -> String {
    id.map(|id| id.user().to_string()).unwrap_or_default()
}

impl From<UserId> for Id {
    fn from(user: UserId) -> Self {
        Self { user, integer: None }
    }
}

impl FromStr for Id {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let text = crate::text::trimmed(text);
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let integer: u64 = text.parse().map_err(|_| InvalidText::TooLarge)?;
            let uuid = Uuid::new_v5(&NAMESPACE, integer.to_string().as_bytes());
            return Ok(Self { user: UserId::new(uuid).ok_or(InvalidText::Nil)?, integer: Some(integer) });
        }
        match UserId::parse(text) {
            Ok(user) => Ok(Self { user, integer: None }),
            Err(InvalidId::Empty) => Err(InvalidText::Empty),
            Err(InvalidId::NotUuid) => Err(InvalidText::Neither),
            Err(InvalidId::Nil) => Err(InvalidText::Nil),
        }
    }
}

/// The id as it was written.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.integer {
            Some(integer) => integer.fmt(f),
            None => self.user.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_become_the_uuid_of_their_decimal_text() {
        // Computed with Python: uuid.uuid5(uuid.NAMESPACE_OID, "88").
        let id: Id = "88".parse().unwrap();
        assert_eq!(id.user().to_string(), "4baeee02-b9b3-5ecd-9f1b-400dbac56b82");
        assert_eq!(id.to_string(), "88");
        assert_eq!("0088".parse(), Ok(id));
        assert_eq!("\u{feff}88\r".parse(), Ok(id), "the first line of a file");
    }

    #[test]
    fn uuids_may_have_upper_case() {
        let id: Id = "F47AC10B-58CC-4372-A567-0E02B2C3D479".parse().unwrap();
        assert_eq!(id.to_string(), "f47ac10b-58cc-4372-a567-0e02b2c3d479");
    }

    #[test]
    fn other_texts_are_refused() {
        let parse = |text: &str| text.parse::<Id>();
        assert_eq!(parse(""), Err(InvalidText::Empty));
        assert_eq!(parse("-1"), Err(InvalidText::Neither));
        assert_eq!(parse("1.5"), Err(InvalidText::Neither));
        assert_eq!(parse("18446744073709551616"), Err(InvalidText::TooLarge));
        assert_eq!(parse("00000000-0000-0000-0000-000000000000"), Err(InvalidText::Nil));
    }
}
