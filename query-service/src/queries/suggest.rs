//! Suggestions of accounts to follow.

use proto::UserId;
use proto::event::EdgeKind;

use super::hops::{Dependency, LONG_LIST, MultiHop};
use super::{Question, QuestionName, Scope, Side};

/// The newest follows of a viewer that suggestions look at.
pub const SUGGESTING_FOLLOWS: usize = 250;
/// The newest follows of each of those.
pub const FOLLOWS_OF_EACH: usize = 100;
/// Accounts in between that a suggestion names, at most.
pub const NAMED_BETWEEN: usize = 3;

/// Whom might `viewer` want to follow? Looks at the newest [`SUGGESTING_FOLLOWS`] follows of the viewer and the newest
/// [`FOLLOWS_OF_EACH`] of each of those. PostgreSQL cannot answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suggest {
    /// For whom.
    pub viewer: UserId,
    /// Most suggestions.
    pub limit: usize,
}

/// Accounts to follow, and what they were derived from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggested {
    /// The accounts.
    pub suggestions: Vec<Suggestion>,
    /// The viewer's follows whose follows were read.
    pub middles: Vec<UserId>,
}

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

impl MultiHop for Suggest {
    fn dependencies(&self, answer: &Suggested) -> Vec<Dependency> {
        use EdgeKind::{Block, Follow, FollowRequest, Mute};
        let own = [Follow, FollowRequest, Mute, Block].map(Side::outgoing).into_iter();
        let own = own.chain([Side::incoming(Block)]).map(|side| (self.viewer, side));
        own.chain(answer.middles.iter().map(|middle| (*middle, Side::outgoing(Follow)))).collect()
    }
}

impl Question for Suggest {
    type Answer = Suggested;

    fn name(&self) -> QuestionName {
        QuestionName::Suggest
    }

    fn items(&self) -> usize {
        LONG_LIST
    }

    fn rows(&self) -> usize {
        self.limit
    }

    fn scope(&self) -> Scope {
        Scope::ReadModel
    }
}
