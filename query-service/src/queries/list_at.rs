//! Parts of lists at an offset.

use proto::UserId;

use super::hops::{Dependency, LONG_LIST};
use super::{LINKS, ListKind, Question, QuestionName, Relation, Scope};

/// Parts of lists that end before this row are read as pages are, with recent events applied.
const NEAR: usize = 2_000;

/// The part of a list at an offset. Looks at as many index entries as offset and limit say, and fetches `limit` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListAt {
    /// Which list.
    pub kind: ListKind,
    /// Whose list.
    pub user: UserId,
    /// Rows left out before the first.
    pub offset: usize,
    /// Most rows.
    pub limit: usize,
    /// Whose links with the accounts are wanted.
    pub viewer: Option<UserId>,
}

/// A part of a list at an offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The accounts, newest first.
    pub users: Vec<UserId>,
    /// How many the whole list has.
    pub total: u64,
    /// What links the viewer with each of the accounts; empty without a viewer.
    pub relations: Vec<Relation>,
}

impl ListAt {
    /// The part is near enough to the beginning to be read as a page.
    pub fn is_near(&self) -> bool {
        self.end() < NEAR
    }

    /// The place of the last row, counted from one.
    pub fn end(&self) -> usize {
        self.offset + self.limit
    }

    /// The edges that the answer depends on.
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

    // As many rows as it costs: skipping is cheaper than fetching, by about ten, and ends with the list, however far the
    // offset is.
    fn rows(&self) -> usize {
        self.limit + (self.offset / 10).min(LONG_LIST)
    }

    fn scope(&self) -> Scope {
        if self.is_near() { Scope::Single } else { Scope::Multi }
    }
}
