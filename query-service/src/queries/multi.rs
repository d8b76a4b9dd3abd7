//! Questions over more than one hop, or put together from several statements, and who can answer them.
//!
//! Each question has a bound on the edges that it reads, which the API documents. Each names the edges that its answer
//! depends on: an answer during whose reading none of them changed is exact.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use proto::event::EdgeKind;
use proto::{Position, UserId};

use super::question::{Scope, places};
use super::rows::LINKS;
use super::{Error, ListKind, ListRow, PublicList, Question, Reader, Relation, Side, Versioned};

/// A question about suggestions, or at a far offset, counts for this in the budget: most lists end long before.
const LONG_LIST: usize = 2_500;
/// The newest follows of a viewer that are looked through for the known: more than FOLLOW_CAP lets most accounts have.
pub const FOLLOWS_LOOKED_THROUGH: usize = 10_000;
/// The newest follows of a viewer that suggestions look at.
pub const SUGGESTING_FOLLOWS: usize = 250;
/// The newest follows of each of those.
pub const FOLLOWS_OF_EACH: usize = 100;
/// Parts of lists that end before this row are read as pages are, with recent events applied.
const NEAR: usize = 2_000;
/// Of those in between, so many are named.
pub const NAMED_BETWEEN: usize = 3;

/// The accounts on one side of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Which side.
    pub list: PublicList,
    /// Of whom.
    pub user: UserId,
}

/// A row of a set, and when its account came into the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetRow {
    /// The row.
    pub row: ListRow,
    /// When the edge of the other set came to be, in milliseconds since 1970; none where there is none.
    pub met_at_millis: Option<i64>,
}

/// What a sift found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// The rows, newest first.
    pub rows: Vec<MetRow>,
    /// The last row that was looked at, where there may be more behind it.
    pub looked_to: Option<Position>,
}

/// The known, or a part of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownRows {
    /// The rows, newest first.
    pub rows: Vec<MetRow>,
    /// How many there are in all, among the follows that were looked through.
    pub total: u64,
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

/// A page of a union.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct United {
    /// Rows of the first set, newest first: up to one more than the page.
    pub first: Vec<ListRow>,
    /// Rows of the second set that fill the page; none if the first set fills it.
    pub second: Option<Sifted>,
}

/// Accounts to follow, and what they were derived from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggested {
    /// The accounts.
    pub suggestions: Vec<Suggestion>,
    /// The viewer's follows whose follows were read.
    pub middles: Vec<UserId>,
}

/// The edges of one kind on one side of an account.
pub type Dependency = (UserId, Side);

/// Somebody to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The account.
    pub user: UserId,
    /// How many in between follow it.
    pub between_count: u32,
    /// A few of them.
    pub between: Vec<UserId>,
}

/// A store that can answer over more than one hop. Each method answers within the given time, or [`Error::TimedOut`].
#[async_trait]
pub trait MultiReader: Send + Sync {
    /// See [`Sift`].
    async fn sift(&self, sift: &Sift, within: Duration) -> Result<Versioned<Sifted>, Error>;

    /// See [`Known`].
    async fn known(&self, known: &Known, within: Duration) -> Result<Versioned<KnownRows>, Error>;

    /// See [`ListAt`].
    async fn list_at(&self, at: &ListAt, within: Duration) -> Result<Versioned<Part>, Error>;

    /// See [`Union`].
    async fn union(&self, union: &Union, within: Duration) -> Result<Versioned<United>, Error>;

    /// See [`Suggest`].
    async fn suggest(&self, suggest: &Suggest, within: Duration) -> Result<Versioned<Suggested>, Error>;
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

/// Whom might `viewer` want to follow? Looks at the newest [`SUGGESTING_FOLLOWS`] follows of the viewer and the newest
/// [`FOLLOWS_OF_EACH`] of each of those. The source of truth is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suggest {
    /// For whom.
    pub viewer: UserId,
    /// Most suggestions.
    pub limit: usize,
}

fn side(list: PublicList) -> Side {
    list.kind().edges().into()
}

fn follows(outgoing: bool) -> Side {
    Side { kind: EdgeKind::Follow, outgoing }
}

impl Set {
    fn dependency(self) -> Dependency {
        (self.user, side(self.list))
    }
}

impl Sift {
    /// The edges that the answer depends on.
    pub fn dependencies(&self) -> Vec<Dependency> {
        vec![self.walked.dependency(), self.other.dependency()]
    }
}

impl Known {
    /// The edges that the answer depends on: who else follows the target is found at the target.
    pub fn dependencies(&self) -> Vec<Dependency> {
        vec![(self.viewer, follows(true)), (self.target, follows(false))]
    }
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

    /// As many rows as it costs: skipping is cheaper than fetching, by about ten, and ends with the list, however far the
    /// offset is.
    pub fn rows(&self) -> usize {
        self.limit + (self.offset / 10).min(LONG_LIST)
    }

    /// The edges that the answer depends on.
    pub fn dependencies(&self) -> Vec<Dependency> {
        let links = self.viewer.into_iter().flat_map(|viewer| LINKS.map(|link| (viewer, Side::from(link))));
        std::iter::once((self.user, self.kind.edges().into())).chain(links).collect()
    }
}

impl Union {
    /// The edges that the answer depends on.
    pub fn dependencies(&self, answer: &United) -> Vec<Dependency> {
        let second = answer.second.is_some().then(|| self.second.dependency());
        std::iter::once(self.first.dependency()).chain(second).collect()
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

impl Suggest {
    /// The edges that the answer depends on.
    pub fn dependencies(&self, answer: &Suggested) -> Vec<Dependency> {
        use EdgeKind::{Block, Follow, FollowRequest, Mute};
        let own = [(Follow, true), (FollowRequest, true), (Mute, true), (Block, true), (Block, false)];
        let own = own.map(|edges| (self.viewer, Side::from(edges)));
        own.into_iter().chain(answer.middles.iter().map(|middle| (*middle, follows(true)))).collect()
    }
}

macro_rules! question {
    ($question:ident, $name:literal, $answer:ty, $ask:ident, |$scoped:ident| $scope:expr, |$this:ident| $items:expr,
     |$placed:ident| $rows:expr) => {
        impl Question for $question {
            type Answer = $answer;

            fn name(&self) -> &'static str {
                $name
            }

            fn items(&self) -> usize {
                let $this = self;
                $items
            }

            fn places(&self) -> usize {
                let $placed = self;
                places($rows)
            }

            fn scope(&self) -> Scope {
                let $scoped = self;
                $scope
            }

            fn ask<'a>(
                &'a self,
                reader: &'a dyn Reader,
                within: Duration,
            ) -> BoxFuture<'a, Result<Versioned<Self::Answer>, Error>> {
                match reader.multi() {
                    Some(reader) => reader.$ask(self, within),
                    None => Box::pin(std::future::ready(Err(Error::failed(
                        "this store answers single hops only",
                    )))),
                }
            }
        }
    };
}

question!(Sift, "sift", Sifted, sift, |_this| Scope::Multi, |this| this.look, |this| this.limit);
question!(Known, "known", KnownRows, known, |_this| Scope::Multi, |_this| FOLLOWS_LOOKED_THROUGH, |this| {
    this.limit
});
question!(
    ListAt,
    "list_at",
    Part,
    list_at,
    |this| if this.is_near() { Scope::Single } else { Scope::Multi },
    |this| this.rows(),
    |this| this.rows()
);
question!(Union, "union", United, union, |_this| Scope::Multi, |this| this.look + this.size, |this| this
    .size);
question!(Suggest, "suggest", Suggested, suggest, |_this| Scope::ReadModel, |_this| LONG_LIST, |this| this
    .limit);

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
        assert_eq!(known.cells(), sift.cells());
    }
}
