//! What callers ask, independent of who answers.
//!
//! Owns: how a question is put to a [`Reader`] and what it costs the source of truth.

use std::time::Duration;

use futures::future::BoxFuture;

use super::{Error, Reader, Versioned};

/// Items that cost the source of truth about as much as one more statement.
const ITEMS_PER_CELL: usize = 50;

/// Rows that a read gets for one place at a read model.
const ROWS_PER_PLACE: usize = 1_000;

/// Places at a read model that an answer of `rows` rows takes. Long answers count more, since they use more of the server's
/// CPU. A page of the API's largest size takes one.
pub fn places(rows: usize) -> usize {
    (rows / ROWS_PER_PLACE).max(1)
}

/// How far a question reaches; that decides how it is put to the stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// About edges of the accounts themselves. Recent events are laid over the answer.
    #[default]
    Single,
    /// Over more than one hop. It takes longer, and recent events cannot be applied to the answer.
    Multi,
    /// The same, and the read model alone can answer.
    ReadModel,
}

/// Something that can be asked of any store.
pub trait Question: Sync {
    /// What the answer looks like.
    type Answer: Send;

    /// Its name in metrics.
    fn name(&self) -> &'static str;

    /// How many items it is about, at most.
    fn items(&self) -> usize;

    /// How far it reaches.
    fn scope(&self) -> Scope {
        Scope::Single
    }

    /// Whether it shares statements with other questions: these have places of their own at the read models.
    fn is_shared(&self) -> bool {
        false
    }

    /// How many places it takes at a read model, if it has a statement of its own.
    fn places(&self) -> usize {
        1
    }

    /// Asks a store.
    fn ask<'a>(
        &'a self,
        reader: &'a dyn Reader,
        within: Duration,
    ) -> BoxFuture<'a, Result<Versioned<Self::Answer>, Error>>;

    /// Its price in the fallback budget: one for the statement and one for every fifty items.
    fn cells(&self) -> u32 {
        u32::try_from(1 + self.items() / ITEMS_PER_CELL).unwrap_or(u32::MAX)
    }
}
