//! Suggestions of accounts to follow.

use proto::UserId;
use proto::event::EdgeKind;

use super::hops::{Dependency, LONG_LIST, MultiHop};
use super::{Question, QuestionName, Scope, Side};

/// Number of a viewer's newest follows that suggestions are based on.
pub const SUGGESTING_FOLLOWS: usize = 250;
/// Number of the newest follows of each of those.
pub const FOLLOWS_OF_EACH: usize = 100;
/// Maximum number of accounts in between that a suggestion names.
pub const NAMED_BETWEEN: usize = 3;

/// Which accounts might `viewer` want to follow? Reads the newest [`SUGGESTING_FOLLOWS`] follows of the viewer and the
/// newest [`FOLLOWS_OF_EACH`] of each of those. PostgreSQL cannot answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suggest {
    pub viewer: UserId,
    /// Maximum number of suggestions.
    pub limit: usize,
}

/// Suggestions, and the follows from which they were derived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggested {
    pub suggestions: Vec<Suggestion>,
    /// The viewer's follows whose follows were read.
    pub middles: Vec<UserId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    pub user: UserId,
    /// Number of the viewer's follows that follow it.
    pub between_count: u32,
    /// Some of them.
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
