//! The counts of accounts.

use proto::UserId;
use proto::event::AccountCounts;

use super::{Question, QuestionName, Shared};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accounts that follow it.
    pub followers: u64,
    /// Accounts that it follows.
    pub following: u64,
    /// Accounts that it has muted.
    pub muting: u64,
    /// Accounts that it has blocked.
    pub blocking: u64,
    /// Follow requests that it has sent.
    pub requests_sent: u64,
    /// Follow requests that it has received.
    pub requests_received: u64,
}

impl From<&AccountCounts> for Counts {
    fn from(told: &AccountCounts) -> Self {
        Self {
            followers: told.followers,
            following: told.following,
            muting: told.muting,
            blocking: told.blocking,
            requests_sent: told.requests_sent,
            requests_received: told.requests_received,
        }
    }
}

/// What are the counts of these accounts?
#[derive(Debug)]
pub struct CountsOf {
    /// May repeat; unknown accounts have zeros.
    pub users: Vec<UserId>,
}

impl Question for CountsOf {
    type Answer = Vec<Counts>;

    const IS_SHARED: bool = true;

    fn name(&self) -> QuestionName {
        QuestionName::Counts
    }

    fn items(&self) -> usize {
        self.users.len()
    }
}

impl Shared for CountsOf {
    type Item = UserId;
    type Value = Counts;

    fn to_items(&self) -> Vec<UserId> {
        self.users.clone()
    }
}
