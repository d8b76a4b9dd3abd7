//! The traits of readers: each store, and each layer above one.

use std::sync::Arc;
use std::time::Duration;

use proto::Token;
use service_kit::trace::Parent;
use tokio::time::Instant;

use super::{Begins, Error, Question, ReadResult};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Neo4j.
    Neo4j,
    /// PostgreSQL.
    Postgres,
    /// The memory of this process.
    Memory,
}

impl Source {
    /// Number of sources.
    pub const COUNT: usize = Self::Memory as usize + 1;

    /// Name in metrics and in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neo4j => "neo4j",
            Self::Postgres => "postgres",
            Self::Memory => "memory",
        }
    }
}

/// An answer and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    pub value: T,
    /// The answer includes all changes up to this revision.
    pub as_of: Token,
    pub source: Source,
}

/// The time limit of a read, and the call that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// After this time the read ends with [`Error::TimedOut`].
    pub within: Duration,
    /// Parent of the spans of its statements.
    pub parent: &'a Parent,
}

impl Context<'_> {
    /// Context of a part of the read, with this time limit.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Context of the rest of the read, which must end at `until`.
    pub fn until(self, until: Instant) -> Result<Self, Error> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Error::TimedOut) } else { Ok(self.within(left)) }
    }
}

/// Answers a question. Each answer is one set-based operation, regardless of the number of accounts.
pub trait Read<Q: Question>: Send + Sync {
    /// Answers in time, or fails with [`Error::TimedOut`].
    fn read(&self, question: &Q, cx: Context<'_>) -> impl Future<Output = ReadResult<Q::Answer>> + Send;
}

impl<Q: Question, R: Read<Q>> Read<Q> for Arc<R> {
    fn read(&self, question: &Q, cx: Context<'_>) -> impl Future<Output = ReadResult<Q::Answer>> + Send {
        (**self).read(question, cx)
    }
}

/// A question that shares statements with others of its kind: each of its items has its own answer.
pub trait Shared: Question<Answer = Vec<<Self as Shared>::Value>> {
    /// One part of a question, for example one target.
    type Item: Copy + Send + Sync + 'static;
    /// The answer for one item.
    type Value: Clone + Default + Send + 'static;

    /// Its items, in the order of the answer.
    fn to_items(&self) -> Vec<Self::Item>;
}

/// The capacity of one statement.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Maximum number of items.
    pub statement: usize,
    /// Capacity that each question takes in addition to its items.
    pub question: usize,
}

/// A store that answers items of several questions in one statement.
pub trait ReadItems<Q: Shared>: Send + Sync {
    const ROOM: Room;

    /// Answers each item, in order, and calls `begins` when the statement begins.
    fn read_items(
        &self,
        items: Vec<Q::Item>,
        begins: Begins,
        cx: Context<'_>,
    ) -> impl Future<Output = ReadResult<Q::Answer>> + Send;
}
