//! Identifiers: accounts, revisions, positions, epochs.
//!
//! Ids are hyphenated UUIDs, accepted in any case and returned in lower case, so that their texts sort as their bytes
//! do; the read model's indexes rely on that.

use std::fmt;

use uuid::Uuid;

/// An account: any UUID but nil.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Uuid);

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text is empty.
    #[error("is required")]
    Empty,
    /// The text is not a hyphenated UUID.
    #[error("must be a hyphenated UUID")]
    NotUuid,
    /// The nil UUID.
    #[error("must not be the nil UUID")]
    Nil,
}

/// Reads a hyphenated UUID in any case; nil is refused.
pub fn parse_uuid(text: &str) -> Result<Uuid, InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    // The uuid crate also takes braced, urn and unhyphenated forms; they are all
    // of other lengths.
    if text.len() != 36 {
        return Err(InvalidId::NotUuid);
    }
    let uuid = Uuid::try_parse(text).map_err(|_| InvalidId::NotUuid)?;
    if uuid.is_nil() {
        return Err(InvalidId::Nil);
    }
    Ok(uuid)
}

impl UserId {
    /// Reads a hyphenated UUID in any case; nil is refused.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        parse_uuid(text).map(Self)
    }

    /// Takes a UUID; `None` for nil.
    pub fn new(uuid: Uuid) -> Option<Self> {
        (!uuid.is_nil()).then_some(Self(uuid))
    }

    /// The UUID.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl From<UserId> for Uuid {
    fn from(id: UserId) -> Uuid {
        id.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text and stored form of a number.
macro_rules! number {
    ($($number:ident),+) => {$(
        impl $number {
            /// The form in PostgreSQL and Neo4j, which have signed integers only.
            pub fn as_i64(self) -> i64 {
                i64::try_from(self.0).unwrap_or(i64::MAX)
            }

            /// From what a store keeps.
            pub fn from_i64(value: i64) -> Self {
                Self(u64::try_from(value).unwrap_or(0))
            }
        }

        impl fmt::Display for $number {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

number!(Epoch, Revision, Position);

/// The number of a history, 1 at first. A recovery opens a larger one: the Unix time in seconds, so that no two recoveries
/// from one backup share an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The number of an accepted change: dense, ordered, starting at 1. 0 stands for
/// the state before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first change.
    pub const ZERO: Self = Self(0);

    /// The largest revision whose positions fit the stores' signed 64 bits.
    pub const MAX: Self = Self((i64::MAX as u64) >> Position::INDEX_BITS);

    /// The revision after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An edge's place in lists: `revision << 10 | index of the change in its event`.
/// Unique, and never changed while the edge lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Bits of the index: an event has at most 1,000 changes.
    pub const INDEX_BITS: u32 = 10;

    /// The place of the change number `index` of `revision`.
    pub fn new(revision: Revision, index: usize) -> Self {
        debug_assert!(index < 1 << Self::INDEX_BITS);
        Self((revision.0 << Self::INDEX_BITS) | index as u64)
    }

    /// The revision that added the edge.
    pub fn revision(self) -> Revision {
        Revision(self.0 >> Self::INDEX_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_in_lower_case_out() {
        let id = UserId::parse("F47AC10B-58CC-4372-A567-0E02B2C3D479").unwrap();
        assert_eq!(id.to_string(), "f47ac10b-58cc-4372-a567-0e02b2c3d479");
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "f47ac10b58cc4372a5670e02b2c3d479",
            "{f47ac10b-58cc-4372-a567-0e02b2c3d479}",
            "urn:uuid:f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "f47ac10b-58cc-4372-a567-0e02b2c3d47g",
        ] {
            assert_eq!(UserId::parse(text), Err(InvalidId::NotUuid), "{text}");
        }
        assert_eq!(UserId::parse(""), Err(InvalidId::Empty));
        assert_eq!(UserId::parse("00000000-0000-0000-0000-000000000000"), Err(InvalidId::Nil));
    }

    #[test]
    fn positions_order_by_revision_then_index() {
        let a = Position::new(Revision(7), 999);
        let b = Position::new(Revision(8), 0);
        assert!(a < b);
        assert_eq!(b.revision(), Revision(8));
    }
}
