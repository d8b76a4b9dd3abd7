//! What callers ask, independent of who answers.
//!
//! Owns: how a question is put to a [`Reader`] and what it costs the source of truth. It must not know which reader is
//! asked. What can go wrong: only what the reader answers.

use std::time::Duration;

use futures::future::BoxFuture;
use proto::{Position, UserId};

use super::{Counts, Error, ListKind, ListRow, PublicList, Reader, Relation, SeenRow, Versioned};

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

/// Whom of these does the viewer follow?
#[derive(Debug)]
pub struct Check {
    /// Who follows or not.
    pub viewer: UserId,
    /// Who is followed or not.
    pub targets: Vec<UserId>,
}

impl Question for Check {
    type Answer = Vec<bool>;

    fn name(&self) -> &'static str {
        "check"
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn items(&self) -> usize {
        self.targets.len()
    }

    fn ask<'a>(
        &'a self,
        reader: &'a dyn Reader,
        within: Duration,
    ) -> BoxFuture<'a, Result<Versioned<Self::Answer>, Error>> {
        reader.check(self.viewer, &self.targets, within)
    }
}

/// What links the viewer with these?
#[derive(Debug)]
pub struct Relations {
    /// Whose view.
    pub viewer: UserId,
    /// The others.
    pub targets: Vec<UserId>,
}

impl Question for Relations {
    type Answer = Vec<Relation>;

    fn name(&self) -> &'static str {
        "relations"
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn items(&self) -> usize {
        self.targets.len()
    }

    fn ask<'a>(
        &'a self,
        reader: &'a dyn Reader,
        within: Duration,
    ) -> BoxFuture<'a, Result<Versioned<Self::Answer>, Error>> {
        reader.relations(self.viewer, &self.targets, within)
    }
}

/// Which are the next rows of a list?
#[derive(Debug)]
pub struct Page {
    /// Which list.
    pub kind: ListKind,
    /// Whose list.
    pub user: UserId,
    /// Rows below this position; from the newest if absent.
    pub before: Option<Position>,
    /// Most rows.
    pub limit: usize,
}

impl Question for Page {
    type Answer = Vec<ListRow>;

    fn name(&self) -> &'static str {
        match self.kind {
            ListKind::Followers => "list_followers",
            ListKind::Following => "list_following",
            ListKind::Mutes => "list_mutes",
            ListKind::Blocks => "list_blocks",
            ListKind::RequestsReceived => "list_requests_received",
            ListKind::RequestsSent => "list_requests_sent",
        }
    }

    fn items(&self) -> usize {
        self.limit
    }

    fn places(&self) -> usize {
        places(self.limit)
    }

    fn ask<'a>(
        &'a self,
        reader: &'a dyn Reader,
        within: Duration,
    ) -> BoxFuture<'a, Result<Versioned<Self::Answer>, Error>> {
        reader.list(self.kind, self.user, self.before, self.limit, within)
    }
}

/// Which are the next rows of a list, and what links a viewer with the accounts in them?
#[derive(Debug)]
pub struct SeenPage {
    /// Which list.
    pub list: PublicList,
    /// Whose list.
    pub user: UserId,
    /// Rows below this position; from the newest if absent.
    pub before: Option<Position>,
    /// Most rows.
    pub limit: usize,
    /// Who looks at it.
    pub viewer: UserId,
}

impl Question for SeenPage {
    type Answer = Vec<SeenRow>;

    fn name(&self) -> &'static str {
        match self.list {
            PublicList::Followers => "list_followers_seen",
            PublicList::Following => "list_following_seen",
        }
    }

    fn items(&self) -> usize {
        self.limit
    }

    fn places(&self) -> usize {
        places(self.limit)
    }

    fn ask<'a>(
        &'a self,
        reader: &'a dyn Reader,
        within: Duration,
    ) -> BoxFuture<'a, Result<Versioned<Self::Answer>, Error>> {
        reader.list_seen(self.list, self.user, self.before, self.limit, self.viewer, within)
    }
}

/// What are the counts of these accounts?
#[derive(Debug)]
pub struct CountsOf {
    /// The accounts.
    pub users: Vec<UserId>,
}

impl Question for CountsOf {
    type Answer = Vec<Counts>;

    fn name(&self) -> &'static str {
        "counts"
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn items(&self) -> usize {
        self.users.len()
    }

    fn ask<'a>(
        &'a self,
        reader: &'a dyn Reader,
        within: Duration,
    ) -> BoxFuture<'a, Result<Versioned<Self::Answer>, Error>> {
        reader.counts(&self.users, within)
    }
}
