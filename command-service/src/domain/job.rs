//! Jobs: changes too large for one event, done in chunks.

use proto::UserId;
use uuid::Uuid;

/// Kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobKind {
    /// Removes all edges of an account, then the account.
    Erase,
    /// Archives all edges of an account.
    Archive,
    /// Restores all edges of an account.
    Restore,
    /// Accepts the requests to an account that has become public.
    MakePublic,
    /// Replaces the following list of an account.
    ReplaceFollowing,
}

impl JobKind {
    /// All kinds that this version knows.
    pub const ALL: [Self; 5] =
        [Self::Erase, Self::Archive, Self::Restore, Self::MakePublic, Self::ReplaceFollowing];

    /// Name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Erase => "erase",
            Self::Archive => "archive",
            Self::Restore => "restore",
            Self::MakePublic => "make_public",
            Self::ReplaceFollowing => "replace_following",
        }
    }

    /// Name in the database. Processes of 0.1.0 ignore `replace_list`: they know only jobs with lists in cursors.
    pub fn stored(self) -> &'static str {
        match self {
            Self::ReplaceFollowing => "replace_list",
            kind => kind.name(),
        }
    }

    /// Reads a name from the database.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.stored() == name || kind.name() == name)
    }
}

/// A job that a command starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its kind.
    pub kind: JobKind,
    /// The account whose edges it changes.
    pub user: UserId,
    /// For a replacement: the id of the job whose list is in the database.
    pub prepared: Option<Uuid>,
    /// For a replacement: number of changes. For other jobs the worker counts them.
    pub total: usize,
}
