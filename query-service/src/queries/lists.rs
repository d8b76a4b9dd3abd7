//! The lists of an account, and pages of them.

use std::time::Duration;

use futures::future::BoxFuture;
use proto::event::EdgeKind;
use proto::{Position, UserId};

use super::{Error, Question, Reader, Relation, Versioned, places};

/// Which list of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// Who follows it.
    Followers,
    /// Whom it follows.
    Following,
    /// Whom it has muted.
    Mutes,
    /// Whom it has blocked.
    Blocks,
    /// Who asks to follow it.
    RequestsReceived,
    /// Whom it asks to follow.
    RequestsSent,
}

impl ListKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Followers,
        Self::Following,
        Self::Mutes,
        Self::Blocks,
        Self::RequestsReceived,
        Self::RequestsSent,
    ];

    /// Its edges, and whether they start at the account.
    pub fn edges(self) -> (EdgeKind, bool) {
        match self {
            Self::Followers => (EdgeKind::Follow, false),
            Self::Following => (EdgeKind::Follow, true),
            Self::Mutes => (EdgeKind::Mute, true),
            Self::Blocks => (EdgeKind::Block, true),
            Self::RequestsReceived => (EdgeKind::FollowRequest, false),
            Self::RequestsSent => (EdgeKind::FollowRequest, true),
        }
    }
}

/// The lists that others look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublicList {
    /// Who follows the account.
    Followers,
    /// Whom the account follows.
    Following,
}

impl PublicList {
    /// The same among all lists.
    pub fn kind(self) -> ListKind {
        match self {
            Self::Followers => ListKind::Followers,
            Self::Following => ListKind::Following,
        }
    }
}

/// One row of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRow {
    /// The account at the other end.
    pub user: UserId,
    /// Its place; rows come with descending positions.
    pub position: Position,
    /// When the edge came to be, in milliseconds since 1970.
    pub created_at_millis: i64,
    /// When it runs out; none for one for good.
    pub expires_at_millis: Option<i64>,
}

/// One row of a list, and what links somebody who looks at it with the row's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenRow {
    /// The row.
    pub row: ListRow,
    /// The links.
    pub relation: Relation,
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
