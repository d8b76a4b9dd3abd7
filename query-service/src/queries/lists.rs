//! The lists of an account, and pages of them.

use proto::event::EdgeKind;
use proto::{Position, UserId};

use super::{Link, Question, QuestionName, Relation, Side};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// Accounts that follow it.
    Followers,
    /// Accounts that it follows.
    Following,
    /// Accounts that it has muted.
    Mutes,
    /// Accounts that it has blocked.
    Blocks,
    /// Accounts whose follow requests to it are pending.
    RequestsReceived,
    /// Accounts to which its follow requests are pending.
    RequestsSent,
}

impl ListKind {
    pub const ALL: [Self; 6] = [
        Self::Followers,
        Self::Following,
        Self::Mutes,
        Self::Blocks,
        Self::RequestsReceived,
        Self::RequestsSent,
    ];

    /// The list, if other accounts may read it.
    pub fn public(self) -> Option<PublicList> {
        PublicList::ALL.into_iter().find(|list| list.kind() == self)
    }

    /// The edges behind the list.
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

/// The lists that other accounts may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublicList {
    /// Accounts that follow the account.
    Followers,
    /// Accounts that the account follows.
    Following,
}

impl PublicList {
    pub const ALL: [Self; 2] = [Self::Followers, Self::Following];

    /// As [`ListKind`].
    pub fn kind(self) -> ListKind {
        match self {
            Self::Followers => ListKind::Followers,
            Self::Following => ListKind::Following,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRow {
    /// The account at the other end.
    pub user: UserId,
    /// Position; rows come in descending order.
    pub position: Position,
    /// Creation time, in milliseconds since 1970.
    pub created_at_millis: i64,
    /// Expiry, in milliseconds since 1970; `None` for a permanent edge.
    pub expires_at_millis: Option<i64>,
}

impl ListRow {
    /// The row for the account at the other end of this edge.
    pub fn of(user: UserId, link: Link) -> Self {
        let Link { position, created_at_millis, expires_at_millis, .. } = link;
        Self { user, position, created_at_millis, expires_at_millis }
    }
}

/// One row of a list, and the viewer's links with its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenRow {
    pub row: ListRow,
    pub relation: Relation,
}

/// Which are the next rows of a list?
#[derive(Debug)]
pub struct Page {
    pub kind: ListKind,
    pub user: UserId,
    /// Rows below this position; from the newest if absent.
    pub before: Option<Position>,
    /// Maximum number of rows.
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

/// Which are the next rows of a list, and what are the viewer's links with their accounts?
#[derive(Debug)]
pub struct SeenPage {
    pub list: PublicList,
    pub user: UserId,
    /// Rows below this position; from the newest if absent.
    pub before: Option<Position>,
    /// Maximum number of rows.
    pub limit: usize,
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
