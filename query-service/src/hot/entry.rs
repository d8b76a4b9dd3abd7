//! Keys and entries.

use proto::UserId;

use super::{Ids, Newest};
use crate::queries::{Counts, Generation, PublicList};

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The accounts that this one follows.
    Ids(UserId),
    /// The newest rows of a list.
    Newest(UserId, PublicList),
    /// The counts of an account.
    Counts(UserId),
}

/// The truth about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Ids(Ids),
    Newest(Newest),
    /// On the heap: most entries are larger lists, and a slot has the size of the largest kind.
    Counts(Box<Counts>),
}

/// The replica that an entry was loaded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Number of the replica.
    pub replica: usize,
    /// Generation of its repairs at the time.
    pub generation: Generation,
}

impl Entry {
    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.heap(),
            Self::Newest(newest) => newest.heap(),
            Self::Counts(_) => size_of::<Counts>(),
        }
    }
}
