//! Who can be asked: the traits that both stores implement.

use std::time::Duration;

use async_trait::async_trait;
use proto::{Position, UserId};

use super::{
    Counts, Error, Known, KnownRows, ListAt, ListKind, ListRow, Part, PublicList, Relation, SeenRow, Sift,
    Sifted, Suggest, Suggested, Union, United, Versioned,
};

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

/// A store that can answer over more than one hop. Each method answers within the given time, or [`Error::TimedOut`].
#[async_trait]
pub trait MultiReader: Send + Sync {
    /// See [`Sift`].
    async fn sift(&self, sift: &Sift, within: Duration) -> Result<Versioned<Sifted>, Error>;

    /// See [`Known`].
    async fn known(&self, known: &Known, within: Duration) -> Result<Versioned<KnownRows>, Error>;

    /// See [`ListAt`].
    async fn list_at(&self, at: &ListAt, within: Duration) -> Result<Versioned<Part>, Error>;

    /// See [`Union`].
    async fn union(&self, union: &Union, within: Duration) -> Result<Versioned<United>, Error>;

    /// See [`Suggest`].
    async fn suggest(&self, suggest: &Suggest, within: Duration) -> Result<Versioned<Suggested>, Error>;
}
