//! Sets of accounts on one side of an account, put together.

use proto::event::EdgeKind;
use proto::{Position, UserId};

use super::hops::{Dependency, MultiHop};
use super::{ListRow, Page, PublicList, Question, QuestionName, Scope, Side};

/// The newest follows of a viewer that are looked through for the known: more than FOLLOW_CAP lets most accounts have.
pub const FOLLOWS_LOOKED_THROUGH: usize = 10_000;

/// The accounts on one side of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Which side.
    pub list: PublicList,
    /// Of whom.
    pub user: UserId,
}

impl Set {
    fn dependency(self) -> Dependency {
        (self.user, self.list.kind().side())
    }
}

/// A row of a set, and when its account came into the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetRow {
    /// The row.
    pub row: ListRow,
    /// When the edge of the other set came to be, in milliseconds since 1970; none where there is none.
    pub met_at_millis: Option<i64>,
}

/// Walks one set, newest first, and takes those who are in another one, or those who are not. Looks at no more than
/// `look` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sift {
    /// The set that is walked.
    pub walked: Set,
    /// Rows below this position; from the newest if absent.
    pub before: Option<Position>,
    /// The other set.
    pub other: Set,
    /// Who came into it at this position or later does not count; all do if absent.
    pub other_before: Option<Position>,
    /// Those in it are taken, else those who are not.
    pub members: bool,
    /// Most rows looked at.
    pub look: usize,
    /// Most rows taken.
    pub limit: usize,
}

/// What a sift found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// The rows, newest first.
    pub rows: Vec<MetRow>,
    /// The last row that was looked at, where there may be more behind it.
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
    /// The set that is walked first.
    pub first: Set,
    /// Rows of the first set below this position; from the newest if absent.
    pub before: Option<Position>,
    /// The set that is walked then, from its newest row.
    pub second: Set,
    /// Edges of the first set from this position on do not exclude an account of the second; all do if absent.
    pub begun: Option<Position>,
    /// Most rows of the second set that are read.
    pub look: usize,
    /// Rows of the page.
    pub size: usize,
}

/// A page of a union.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct United {
    /// Rows of the first set, newest first: up to one more than the page.
    pub first: Vec<ListRow>,
    /// Rows of the second set that fill the page; none if the first set fills it.
    pub second: Option<Sifted>,
}

impl MultiHop for Union {
    fn dependencies(&self, answer: &United) -> Vec<Dependency> {
        let second = answer.second.is_some().then(|| self.second.dependency());
        std::iter::once(self.first.dependency()).chain(second).collect()
    }
}

impl Union {
    /// The rows of the first set. One more than the page shows whether they fill it.
    pub fn first_page(&self) -> Page {
        let Set { list, user } = self.first;
        Page { kind: list.kind(), user, before: self.before, limit: self.size + 1 }
    }

    /// What completes a page of these rows of the first set; nothing if they fill it.
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

/// Whom `viewer` follows that follow `target`, in the order of the viewer's follows. Looks through the newest
/// [`FOLLOWS_LOOKED_THROUGH`] of those, whichever part is asked for: the total counts the same ones on every page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who looks.
    pub viewer: UserId,
    /// Whose followers; may be the viewer.
    pub target: UserId,
    /// Rows below this position; from the newest if absent.
    pub before: Option<Position>,
    /// Rows left out before the first.
    pub skip: usize,
    /// Most rows.
    pub limit: usize,
}

/// The known, or a part of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownRows {
    /// The rows, newest first.
    pub rows: Vec<MetRow>,
    /// How many there are in all, among the follows that were looked through.
    pub total: u64,
}

impl MultiHop for Known {
    /// Who else follows the target is found at the target.
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
