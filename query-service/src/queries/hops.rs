//! What questions over more than one hop, or put together from several statements, have in common.
//!
//! Each question has a bound on the edges that it reads, which the API documents. Each names the edges that its answer
//! depends on: an answer during whose reading none of them changed is exact.

use proto::UserId;
use proto::event::EdgeKind;

use super::Side;

/// The edges of one kind on one side of an account.
pub type Dependency = (UserId, Side);

/// A question about suggestions, or at a far offset, counts for this in the budget: most lists end long before.
pub(super) const LONG_LIST: usize = 2_500;

pub(super) fn follows(outgoing: bool) -> Side {
    Side { kind: EdgeKind::Follow, outgoing }
}

/// Puts a question to a [`super::MultiReader`].
macro_rules! question {
    ($question:ident, $name:literal, $answer:ty, $ask:ident, |$scoped:ident| $scope:expr, |$this:ident| $items:expr,
     |$placed:ident| $rows:expr) => {
        impl $crate::queries::Question for $question {
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
                $crate::queries::places($rows)
            }

            fn scope(&self) -> $crate::queries::Scope {
                let $scoped = self;
                $scope
            }

            fn ask<'a>(
                &'a self,
                reader: &'a dyn $crate::queries::Reader,
                within: std::time::Duration,
            ) -> futures::future::BoxFuture<
                'a,
                Result<$crate::queries::Versioned<Self::Answer>, $crate::queries::Error>,
            > {
                match reader.multi() {
                    Some(reader) => reader.$ask(self, within),
                    None => Box::pin(std::future::ready(Err($crate::queries::Error::failed(
                        "this store answers single hops only",
                    )))),
                }
            }
        }
    };
}

pub(super) use question;
