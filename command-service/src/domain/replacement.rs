//! A planned replacement of a following list, and what its response reports.

use proto::{Token, UserId};
use uuid::Uuid;

use super::change::Change;

/// Number of changes by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplaceCounts {
    /// New follows.
    pub added: usize,
    /// Ended follows and withdrawn requests.
    pub removed: usize,
    /// New follow requests to private accounts.
    pub requested: usize,
}

/// Accounts that a replacement adds and removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaceReport {
    /// Accounts of new follows.
    pub added: Vec<UserId>,
    /// Accounts of ended follows and withdrawn requests.
    pub removed: Vec<UserId>,
    /// Private accounts that get a follow request.
    pub requested: Vec<UserId>,
    /// Lengths of the lists, which are empty if they are too long for a response.
    pub counts: ReplaceCounts,
}

impl ReplaceReport {
    /// Keeps the counts only.
    #[must_use]
    pub fn without_lists(self) -> Self {
        Self { counts: self.counts, ..Self::default() }
    }

    /// Number of changed accounts.
    pub fn total(&self) -> usize {
        self.counts.added + self.counts.removed + self.counts.requested
    }
}

/// A replacement as it was planned on a snapshot, for the committer.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// The account whose following list is replaced.
    pub actor: UserId,
    /// The snapshot that the plan was decided on.
    pub seen: Token,
    /// Number of live follows and pending requests in the snapshot.
    pub listed: u64,
    /// Length of the new list.
    pub size: u64,
    /// Results for the response.
    pub report: ReplaceReport,
    /// Whether the command or a job makes the changes.
    pub work: Work,
}

/// What makes the changes of a replacement.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// The command, in one event.
    Now(Vec<Change>),
    /// A job whose list is already in the database.
    Job(Uuid),
}
