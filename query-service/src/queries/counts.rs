//! The counts of accounts.

use proto::UserId;

use super::{Question, QuestionName, Shared};

/// The counts of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many follow it.
    pub followers: u64,
    /// How many it follows.
    pub following: u64,
    /// How many it has muted.
    pub muting: u64,
    /// How many it has blocked.
    pub blocking: u64,
    /// How many it asks to follow.
    pub requests_sent: u64,
    /// How many ask to follow it.
    pub requests_received: u64,
}

/// What are the counts of these accounts?
#[derive(Debug)]
pub struct CountsOf {
    /// The accounts. They may repeat; unknown ones have zeros.
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
