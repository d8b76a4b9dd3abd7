//! The counts of accounts.

use std::time::Duration;

use futures::future::BoxFuture;
use proto::UserId;

use super::{Error, Question, Reader, Versioned};

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
