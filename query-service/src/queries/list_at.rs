//! Parts of lists at an offset.

use proto::UserId;

use super::hops::{Dependency, LONG_LIST};
use super::{LINKS, ListKind, Question, QuestionName, Relation, Scope};

/// Parts of lists that end before this row are read like pages, with recent events applied.
const NEAR: usize = 2_000;

/// The part of a list at an offset. Reads offset + limit index entries, and fetches `limit` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListAt {
    pub kind: ListKind,
    pub user: UserId,
    /// Rows to skip.
    pub offset: usize,
    /// Maximum number of rows.
    pub limit: usize,
    /// The account whose links with the rows are wanted.
    pub viewer: Option<UserId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Newest first.
    pub users: Vec<UserId>,
    /// Length of the whole list.
    pub total: u64,
    /// The viewer's links with each of the accounts; empty without a viewer.
    pub relations: Vec<Relation>,
}

impl ListAt {
    /// True if the part is near enough to the beginning to be read as a page.
    pub fn is_near(&self) -> bool {
        self.end() < NEAR
    }

    /// The place of the last row, counted from one.
    pub fn end(&self) -> usize {
        self.offset + self.limit
    }

    pub fn dependencies(&self) -> Vec<Dependency> {
        let links = self.viewer.into_iter().flat_map(|viewer| LINKS.map(|side| (viewer, side)));
        std::iter::once((self.user, self.kind.side())).chain(links).collect()
    }
}

impl Question for ListAt {
    type Answer = Part;

    fn name(&self) -> QuestionName {
        QuestionName::ListAt
    }

    // Counts the rows that skipping would cost: it is about ten times cheaper than fetching, and ends with the list
    // however large the offset is.
    fn rows(&self) -> usize {
        self.limit + (self.offset / 10).min(LONG_LIST)
    }

    fn scope(&self) -> Scope {
        if self.is_near() { Scope::Single } else { Scope::Multi }
    }
}
