//! Who answers questions: each store, and each layer above one.

use std::sync::Arc;
use std::time::Duration;

use proto::Token;
use service_kit::trace::Parent;

use super::{Begins, Error, Question, Versioned};

/// The store that gave an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The read model.
    Neo4j,
    /// The source of truth.
    Postgres,
}

impl Source {
    /// How many there are.
    pub const COUNT: usize = Self::Postgres as usize + 1;

    /// Its name in metrics and in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neo4j => "neo4j",
            Self::Postgres => "postgres",
        }
    }
}

/// An answer and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// What it holds everything up to.
    pub as_of: Token,
    /// The store.
    pub source: Source,
}

/// Answers a question. Each answer is one set-based operation, however many accounts it is about.
pub trait Read<Q: Question>: Send + Sync {
    /// Answers within the given time, or [`Error::TimedOut`]. Spans of statements are below `parent`.
    fn read(
        &self,
        question: &Q,
        within: Duration,
        parent: &Parent,
    ) -> impl Future<Output = Result<Versioned<Q::Answer>, Error>> + Send;
}

impl<Q: Question, R: Read<Q>> Read<Q> for Arc<R> {
    fn read(
        &self,
        question: &Q,
        within: Duration,
        parent: &Parent,
    ) -> impl Future<Output = Result<Versioned<Q::Answer>, Error>> + Send {
        (**self).read(question, within, parent)
    }
}

/// A question that shares statements with others of its kind: each of its items has an answer of its own.
pub trait Shared: Question<Answer = Vec<<Self as Shared>::Value>> {
    /// What one value is about.
    type Item: Copy + Send + Sync + 'static;
    /// The answer for one item.
    type Value: Clone + Default + Send + 'static;

    /// Its items, in the order of the answer.
    fn to_items(&self) -> Vec<Self::Item>;
}

/// How much goes into one statement.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Room of a statement, in items.
    pub statement: usize,
    /// What each question takes of it in addition to its items.
    pub question: usize,
}

/// A store that answers items of several questions in one statement.
pub trait ReadItems<Q: Shared>: Send + Sync {
    /// How much it takes at once.
    const ROOM: Room;

    /// Answers for each item, in order, and calls `begins` when the statement begins.
    fn read_items(
        &self,
        items: Vec<Q::Item>,
        begins: Begins,
        within: Duration,
        parent: &Parent,
    ) -> impl Future<Output = Result<Versioned<Q::Answer>, Error>> + Send;
}
