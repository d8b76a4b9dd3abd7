//! Outcomes of edits, and the growth of vectors.

/// An event does not fit an entry: the entry was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differs;

/// What an edit did to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edited {
    /// Bytes that it moved.
    pub moved: usize,
    /// The entry cannot hold the row.
    pub is_full: bool,
}

impl Edited {
    pub fn moved(bytes: usize) -> Self {
        Self { moved: bytes, is_full: false }
    }

    pub fn full() -> Self {
        Self { moved: 0, is_full: true }
    }
}

/// Capacity of a vector of `rows` rows: an eighth more, so that lists grow a while without being moved, and freed blocks
/// have few sizes.
pub fn capacity_for(rows: usize) -> usize {
    (rows + rows / 8 + 1).next_multiple_of(8)
}
