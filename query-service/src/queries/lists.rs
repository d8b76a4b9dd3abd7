//! The lists of an account, and pages of them.

use proto::event::EdgeKind;
use proto::{Position, UserId};

use super::{Link, Question, QuestionName, Relation, Side};

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

    /// Its edges.
    pub fn side(self) -> Side {
        match self {
            Self::Followers => Side::incoming(EdgeKind::Follow),
            Self::Following => Side::outgoing(EdgeKind::Follow),
            Self::Mutes => Side::outgoing(EdgeKind::Mute),
            Self::Blocks => Side::outgoing(EdgeKind::Block),
            Self::RequestsReceived => Side::incoming(EdgeKind::FollowRequest),
            Self::RequestsSent => Side::outgoing(EdgeKind::FollowRequest),
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
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Followers, Self::Following];

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

impl ListRow {
    /// The row of an account that this edge links with the list's.
    pub fn of(user: UserId, link: Link) -> Self {
        let Link { position, created_at_millis, expires_at_millis, .. } = link;
        Self { user, position, created_at_millis, expires_at_millis }
    }
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

    fn name(&self) -> QuestionName {
        match self.kind {
            ListKind::Followers => QuestionName::ListFollowers,
            ListKind::Following => QuestionName::ListFollowing,
            ListKind::Mutes => QuestionName::ListMutes,
            ListKind::Blocks => QuestionName::ListBlocks,
            ListKind::RequestsReceived => QuestionName::ListRequestsReceived,
            ListKind::RequestsSent => QuestionName::ListRequestsSent,
        }
    }

    fn rows(&self) -> usize {
        self.limit
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

    fn name(&self) -> QuestionName {
        match self.list {
            PublicList::Followers => QuestionName::ListFollowersSeen,
            PublicList::Following => QuestionName::ListFollowingSeen,
        }
    }

    fn rows(&self) -> usize {
        self.limit
    }
}
