//! Where a job goes on, and its bytes in the database.
//!
//! Only this service writes and reads them. A running job may outlive an upgrade, so
//! the bytes must not change between releases; the test holds them still.

use proto::{Position, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest list that a job is kept with.
const LIMIT: usize = 64 << 20;

/// Where a job goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// After this position of the account's live edges.
    Live(Position),
    /// After this position of its hidden edges.
    Archived(Position),
    /// Whom the account shall follow.
    Targets(Vec<UserId>),
}

#[derive(Serialize, Deserialize)]
enum Stored {
    Live(u64),
    Archived(u64),
    Targets(Vec<[u8; 16]>),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<LIMIT>()
}

impl Cursor {
    /// The bytes to keep.
    pub fn encode(&self) -> Vec<u8> {
        let stored = match self {
            Self::Live(after) => Stored::Live(after.0),
            Self::Archived(after) => Stored::Archived(after.0),
            Self::Targets(targets) => {
                Stored::Targets(targets.iter().map(|user| user.uuid().into_bytes()).collect())
            }
        };
        // Numbers and byte arrays always encode; the limit applies to reading.
        bincode::serde::encode_to_vec(stored, config()).unwrap_or_default()
    }

    /// A cursor that was kept.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (stored, _): (Stored, usize) = bincode::serde::decode_from_slice(bytes, config()).ok()?;
        Some(match stored {
            Stored::Live(after) => Self::Live(Position(after)),
            Stored::Archived(after) => Self::Archived(Position(after)),
            Stored::Targets(targets) => Self::Targets(
                targets.into_iter().map(|id| UserId::new(Uuid::from_bytes(id))).collect::<Option<_>>()?,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_stay_what_they_are() {
        let user = UserId::new(Uuid::from_u128(7)).expect("not nil");
        for (cursor, bytes) in [
            (Cursor::Live(Position(5)), vec![0, 5]),
            (Cursor::Archived(Position(300)), vec![1, 251, 44, 1]),
            (Cursor::Targets(vec![user]), [vec![2, 1], vec![0; 15], vec![7]].concat()),
        ] {
            assert_eq!(cursor.encode(), bytes);
            assert_eq!(Cursor::decode(&bytes), Some(cursor));
        }
        assert_eq!(Cursor::decode(&[9]), None);
    }
}
