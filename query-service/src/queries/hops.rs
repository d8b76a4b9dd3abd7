//! What questions over more than one hop, or put together from several statements, have in common.
//!
//! Each question has a bound on the edges that it reads, which the API documents. Each names the edges that its answer
//! depends on: an answer during whose reading none of them changed is exact.

use proto::UserId;

use super::{Question, Side};

/// The edges of one kind on one side of an account.
pub type Dependency = (UserId, Side);

/// A question over more than one hop. Recent events cannot be applied to its answer, but they show whether it is exact.
pub trait MultiHop: Question {
    /// The edges that an answer depends on.
    fn dependencies(&self, answer: &Self::Answer) -> Vec<Dependency>;
}

/// Upper bound of the budget's items for suggestions and far offsets: most lists end long before.
pub(super) const LONG_LIST: usize = 2_500;
