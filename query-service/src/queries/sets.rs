//! Combinations of sets of accounts on one side of an account.

use proto::event::EdgeKind;
use proto::{Position, UserId};

use super::hops::{Dependency, MultiHop};
use super::{ListRow, Page, PublicList, Question, QuestionName, Scope, Side};

/// Number of a viewer's newest follows in which known followers are searched: more than FOLLOW_CAP allows most
/// accounts.
pub const FOLLOWS_LOOKED_THROUGH: usize = 10_000;

/// The accounts on one side of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    pub list: PublicList,
    pub user: UserId,
}

impl Set {
    fn dependency(self) -> Dependency {
        (self.user, self.list.kind().side())
    }
}

/// A row, and the creation time of its edge in the other set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetRow {
    pub row: ListRow,
    /// In milliseconds since 1970; `None` if the account is not in the other set.
    pub met_at_millis: Option<i64>,
}

/// Walks one set, newest first, and keeps the accounts that are in another set, or those that are not. Reads at most
/// `look` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sift {
    pub walked: Set,
    /// Rows below this position; from the newest if absent.
    pub before: Option<Position>,
    pub other: Set,
    /// Ignores members at or above this position; none if absent.
    pub other_before: Option<Position>,
    /// True: keep members; false: keep non-members.
    pub members: bool,
    /// Maximum number of rows that are read.
    pub look: usize,
    /// Maximum number of rows that are kept.
    pub limit: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// Newest first.
    pub rows: Vec<MetRow>,
    /// The last row that was read, if there may be more after it.
    pub looked_to: Option<Position>,
}

impl MultiHop for Sift {
    fn dependencies(&self, _: &Sifted) -> Vec<Dependency> {
        vec![self.walked.dependency(), self.other.dependency()]
    }
}

impl Question for Sift {
    type Answer = Sifted;

    fn name(&self) -> QuestionName {
        QuestionName::Sift
    }

    fn items(&self) -> usize {
        self.look
    }

    fn rows(&self) -> usize {
        self.limit
    }

    fn scope(&self) -> Scope {
        Scope::Multi
    }
}

/// The rows of the first set below a position, and, if they do not fill the page, those of the second set that are not
/// in the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Union {
    /// The set to walk first.
    pub first: Set,
    /// Rows of the first set below this position; from the newest if absent.
    pub before: Option<Position>,
    /// The set to walk next, from its newest row.
    pub second: Set,
    /// Edges of the first set at or above this position do not exclude an account of the second; all edges do if
    /// absent.
    pub begun: Option<Position>,
    /// Maximum number of rows of the second set that are read.
    pub look: usize,
    /// Page size.
    pub size: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct United {
    /// Rows of the first set, newest first: up to one more than the page size.
    pub first: Vec<ListRow>,
    /// Rows of the second set that fill the page; empty if the first set fills it.
    pub second: Option<Sifted>,
}

impl MultiHop for Union {
    fn dependencies(&self, answer: &United) -> Vec<Dependency> {
        let second = answer.second.is_some().then(|| self.second.dependency());
        std::iter::once(self.first.dependency()).chain(second).collect()
    }
}

impl Union {
    /// Reads the first set. One more row than the page shows whether they fill it.
    pub fn first_page(&self) -> Page {
        let Set { list, user } = self.first;
        Page { kind: list.kind(), user, before: self.before, limit: self.size + 1 }
    }

    /// Reads the rest of the page after these rows of the first set; `None` if they fill it.
    pub fn rest(&self, first: &[ListRow]) -> Option<Sift> {
        (first.len() <= self.size && self.first != self.second).then(|| Sift {
            walked: self.second,
            before: None,
            other: self.first,
            other_before: self.begun,
            members: false,
            look: self.look,
            limit: self.size - first.len() + 1,
        })
    }
}

impl Question for Union {
    type Answer = United;

    fn name(&self) -> QuestionName {
        QuestionName::Union
    }

    fn items(&self) -> usize {
        self.look + self.size
    }

    fn rows(&self) -> usize {
        self.size
    }

    fn scope(&self) -> Scope {
        Scope::Multi
    }
}

/// Accounts that `viewer` follows and that follow `target`, in the order of the viewer's follows. Reads the newest
/// [`FOLLOWS_LOOKED_THROUGH`] of those, whichever part the caller wants: so the total is the same on every page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub viewer: UserId,
    /// May be the viewer.
    pub target: UserId,
    /// Rows below this position; from the newest if absent.
    pub before: Option<Position>,
    /// Rows to skip.
    pub skip: usize,
    /// Maximum number of rows.
    pub limit: usize,
}

/// A part of the known followers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownRows {
    /// Newest first.
    pub rows: Vec<MetRow>,
    /// Number of known followers among the follows that were read.
    pub total: u64,
}

impl MultiHop for Known {
    /// The viewer's follows are looked up in the target's followers.
    fn dependencies(&self, _: &KnownRows) -> Vec<Dependency> {
        vec![(self.viewer, Side::outgoing(EdgeKind::Follow)), (self.target, Side::incoming(EdgeKind::Follow))]
    }
}

impl Question for Known {
    type Answer = KnownRows;

    fn name(&self) -> QuestionName {
        QuestionName::Known
    }

    fn items(&self) -> usize {
        FOLLOWS_LOOKED_THROUGH
    }

    fn rows(&self) -> usize {
        self.limit
    }

    fn scope(&self) -> Scope {
        Scope::Multi
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_the_known_costs_what_it_may_look_through() {
        let user = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
        let known = Known { viewer: user, target: user, before: None, skip: 0, limit: 1 };
        let set = Set { list: PublicList::Following, user };
        let sift = Sift {
            walked: set,
            before: None,
            other: set,
            other_before: None,
            members: true,
            look: FOLLOWS_LOOKED_THROUGH,
            limit: 1,
        };
        assert_eq!(known.cost(), sift.cost());
    }
}
