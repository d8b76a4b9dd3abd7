//! Tokens of walks through more than one set. A token continues only the question for which it was created, with the
//! same arguments.

use proto::{Position, Token, UserId};

use super::body::{AskedBytes, Body, SetBytes, WalkBody, id};
use super::{Codec, Invalid};
use crate::queries::{PublicList, Set};

/// Set operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Accounts in either set.
    Union,
    /// Accounts in both sets.
    Intersection,
    /// Accounts in the first set and not in the second.
    Difference,
}

/// The question of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The friends of an account.
    Mutuals(UserId),
    /// Accounts that the first follows and that follow the second.
    Known(UserId, UserId),
    /// An operation on two sets.
    Sets(Operation, Set, Set),
}

/// Which of two sets the walk is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    #[default]
    First,
    Second,
}

/// Start of the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkToken {
    pub stage: Stage,
    /// The next page holds edges below this position; from the newest if absent.
    pub before: Option<Position>,
    /// Edges at this position or above were created after the walk began; not every walk needs this.
    pub begun: Option<Position>,
    /// The next page must be at least this fresh.
    pub as_of: Token,
}

impl From<Asked> for AskedBytes {
    fn from(asked: Asked) -> Self {
        let set = |set: Set| match set.list {
            PublicList::Followers => SetBytes::Followers(id(set.user)),
            PublicList::Following => SetBytes::Following(id(set.user)),
        };
        match asked {
            Asked::Mutuals(user) => Self::Mutuals(id(user)),
            Asked::Known(viewer, target) => Self::Known(id(viewer), id(target)),
            Asked::Sets(operation, first, second) => match operation {
                Operation::Union => Self::Union(set(first), set(second)),
                Operation::Intersection => Self::Intersection(set(first), set(second)),
                Operation::Difference => Self::Difference(set(first), set(second)),
            },
        }
    }
}

impl Codec {
    /// Encodes the token of a next page.
    pub fn walk(&self, asked: Asked, token: &WalkToken) -> String {
        self.sign(&Body::Walk(WalkBody {
            asked: asked.into(),
            second: token.stage == Stage::Second,
            before: token.before.map(|position| position.0),
            begun: token.begun.map(|position| position.0),
            as_of: token.as_of.into(),
        }))
    }

    /// Decodes the token of a page of this question.
    pub fn read_walk(&self, text: &str, asked: Asked) -> Result<WalkToken, Invalid> {
        match self.verify(text)? {
            Body::Walk(body) if body.asked == asked.into() => Ok(WalkToken {
                stage: if body.second { Stage::Second } else { Stage::First },
                before: body.before.map(Position),
                begun: body.begun.map(Position),
                as_of: body.as_of.into(),
            }),
            _ => Err(Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Revision};
    use service_kit::Secret;
    use uuid::Uuid;

    use super::super::codec::MAX_TEXT_BYTES;
    use super::*;
    use crate::queries::ListKind;

    fn codec() -> Codec {
        Codec::new(&[Secret::from("0123456789abcdef")]).expect("a key")
    }

    fn user(id: u128) -> UserId {
        UserId::new(Uuid::from_u128(id)).expect("not nil")
    }

    fn questions() -> Vec<Asked> {
        let followers = |id| Set { list: PublicList::Followers, user: user(id) };
        let following = |id| Set { list: PublicList::Following, user: user(id) };
        let mut all = vec![
            Asked::Mutuals(user(1)),
            Asked::Mutuals(user(2)),
            Asked::Known(user(1), user(1)),
            Asked::Known(user(1), user(2)),
            Asked::Known(user(2), user(1)),
        ];
        for operation in [Operation::Union, Operation::Intersection, Operation::Difference] {
            all.extend([
                Asked::Sets(operation, followers(1), followers(2)),
                Asked::Sets(operation, followers(2), followers(1)),
                Asked::Sets(operation, following(1), followers(2)),
                Asked::Sets(operation, followers(1), following(2)),
                Asked::Sets(operation, following(u128::MAX), following(u128::MAX - 1)),
            ]);
        }
        all
    }

    #[test]
    fn a_token_opens_the_question_that_it_was_made_for_and_no_other() {
        let codec = codec();
        let token = WalkToken {
            stage: Stage::Second,
            before: Some(Position(u64::MAX)),
            begun: Some(Position(u64::MAX)),
            as_of: Token::new(Epoch(u64::MAX), Revision(u64::MAX)),
        };
        for asked in questions() {
            let text = codec.walk(asked, &token);
            assert!(text.len() <= MAX_TEXT_BYTES, "{} bytes", text.len());
            for other in questions() {
                let wanted = if other == asked { Ok(token) } else { Err(Invalid) };
                assert_eq!(codec.read_walk(&text, other), wanted, "{asked:?} {other:?}");
            }
            assert_eq!(codec.read_page(&text, ListKind::Followers, user(1), None), Err(Invalid));
        }
    }

    #[test]
    fn a_token_of_a_list_opens_no_walk() {
        let codec = codec();
        let page = super::super::PageToken {
            kind: ListKind::Following,
            user: user(1),
            viewer: None,
            before: Position(1),
            as_of: Token::new(Epoch(1), Revision(1)),
        };
        assert_eq!(codec.read_walk(&codec.page(&page), Asked::Mutuals(user(1))), Err(Invalid));
    }
}
