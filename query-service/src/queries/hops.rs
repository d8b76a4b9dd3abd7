//! Common traits of multi-hop questions, and of questions that need several statements.
//!
//! Each question has a bound on the edges that it reads, which the API documents. Each names the edges that its answer
//! depends on: an answer is exact if none of them changed during the read.

use proto::UserId;

use super::{Question, Side};

/// The edges of one kind on one side of an account.
pub type Dependency = (UserId, Side);

/// A multi-hop question. Recent events cannot be applied to its answer, but they show whether it is exact.
pub trait MultiHop: Question {
    /// The edges that the answer depends on.
    fn dependencies(&self, answer: &Self::Answer) -> Vec<Dependency>;
}

/// Upper bound of the items that the budget counts for suggestions and large offsets: most lists end long before.
pub(super) const LONG_LIST: usize = 2_500;
