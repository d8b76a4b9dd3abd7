//! Who can be asked: the trait that both stores implement, and their errors.
//!
//! A read model without a checkpoint, or one that is not complete, is an error and never an empty answer: it must not
//! tell anybody that nobody follows them. See [`Error`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proto::{Position, UserId};

use super::{Counts, ListKind, ListRow, MultiReader, PublicList, Relation, SeenRow, Versioned};

/// The store that gave an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The read model.
    Neo4j,
    /// The source of truth.
    Postgres,
}

impl Source {
    /// Its name in metrics and in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neo4j => "neo4j",
            Self::Postgres => "postgres",
        }
    }
}

/// Why a store gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no checkpoint: nothing was projected here, or the data is lost.
    #[error("the read model has no checkpoint")]
    NotBuilt,
    /// The read model does not hold the whole graph yet.
    #[error("the read model is not complete")]
    NotComplete,
    /// The answer lies between two revisions, and recent events do not tell what it is at any.
    #[error("nobody can tell of which revision the answer is")]
    NotExact,
    /// The answer did not come in time.
    #[error("the store did not answer in time")]
    TimedOut,
    /// Too many reads of this process wait for the store: it was not asked.
    #[error("too many reads wait for the store")]
    Busy,
    /// The store stands still: a read waited to be let in, and nothing that the store was asked ended meanwhile.
    #[error("the store stands still")]
    Stalled,
    /// The schema is not known to be ours yet.
    #[error("the schema was not checked yet")]
    Unchecked,
    /// The settings lead to a server that cannot be used: why, and what to do.
    #[error("{0}")]
    Misconfigured(String),
    /// The store refused, broke off or answered nonsense.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// One of the above, of a statement that other questions share.
    #[error("a shared statement gave no answer")]
    Shared {
        /// What happened.
        #[source]
        error: Box<Self>,
        /// The statement.
        statement: Statement,
    },
}

impl Error {
    /// Wraps a driver's error.
    pub fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(source.into())
    }

    /// What happened, and to which statement if others share it.
    pub fn unshared(self) -> (Self, Option<Statement>) {
        match self {
            Self::Shared { error, statement } => (*error, Some(statement)),
            error => (error, None),
        }
    }
}

/// Called when a statement begins: it has waited for its place.
pub type Begins = Arc<dyn Fn() + Send + Sync>;

/// A statement that several questions share. All of them tell how it ended, and it counts once.
#[derive(Clone, Debug, Default)]
pub struct Statement(Arc<AtomicBool>);

impl Statement {
    /// One that never ran: there is nothing to count.
    pub fn none() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// True for the first who counts it.
    pub fn count(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Statement {}

/// A store that can be read. Each method answers within the given time, or [`Error::TimedOut`]; each is one set-based
/// operation, however many accounts it is about.
#[async_trait]
pub trait Reader: Send + Sync + 'static {
    /// Tells for each target, in order, whether the viewer follows it. Targets may repeat.
    async fn check(
        &self,
        viewer: UserId,
        targets: &[UserId],
        within: Duration,
    ) -> Result<Versioned<Vec<bool>>, Error>;

    /// Tells for each target, in order, all that links the viewer with it. Targets may repeat; the viewer itself has no
    /// link.
    async fn relations(
        &self,
        viewer: UserId,
        targets: &[UserId],
        within: Duration,
    ) -> Result<Versioned<Vec<Relation>>, Error>;

    /// Reads at most `limit` rows of a list below a position, newest first.
    async fn list(
        &self,
        kind: ListKind,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        within: Duration,
    ) -> Result<Versioned<Vec<ListRow>>, Error>;

    /// The same, with all that links a viewer with each account in it. Nobody is left out. The rows and their links are
    /// one value, between the same revisions.
    async fn list_seen(
        &self,
        list: PublicList,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        viewer: UserId,
        within: Duration,
    ) -> Result<Versioned<Vec<SeenRow>>, Error>;

    /// Answers over more than one hop; `None` if it cannot. A layer above a store passes on what the store answers.
    fn multi(&self) -> Option<&dyn MultiReader>;

    /// Tells the counts of each account, in order; zeros for unknown ones. Accounts may repeat.
    async fn counts(&self, users: &[UserId], within: Duration) -> Result<Versioned<Vec<Counts>>, Error>;
}
