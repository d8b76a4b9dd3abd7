//! Who answers questions: each store, and each layer above one.

use std::sync::Arc;
use std::time::Duration;

use proto::Token;
use service_kit::trace::Parent;
use tokio::time::Instant;

use super::{Begins, Error, Question, ReadResult};

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

/// How long a read may take, and the call that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// After this time the read ends with [`Error::TimedOut`].
    pub within: Duration,
    /// The parent of the spans of its statements.
    pub parent: &'a Parent,
}

impl Context<'_> {
    /// The same for a part of the read that may take this long.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// The same for the rest of the read, which must end at `until`.
    pub fn until(self, until: Instant) -> Result<Self, Error> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Error::TimedOut) } else { Ok(self.within(left)) }
    }
}

/// Answers a question. Each answer is one set-based operation, however many accounts it is about.
pub trait Read<Q: Question>: Send + Sync {
    /// Answers in time, or with [`Error::TimedOut`].
    fn read(&self, question: &Q, cx: Context<'_>) -> impl Future<Output = ReadResult<Q::Answer>> + Send;
}

impl<Q: Question, R: Read<Q>> Read<Q> for Arc<R> {
    fn read(&self, question: &Q, cx: Context<'_>) -> impl Future<Output = ReadResult<Q::Answer>> + Send {
        (**self).read(question, cx)
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
        cx: Context<'_>,
    ) -> impl Future<Output = ReadResult<Q::Answer>> + Send;
}
