//! Jobs: changes too large for one event, done in chunks.

use proto::UserId;
use uuid::Uuid;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobKind {
    /// Removes all edges of an account, then the account.
    Erase,
    /// Hides all edges of an account.
    Archive,
    /// Shows them again.
    Restore,
    /// Accepts the requests to an account that has become public.
    MakePublic,
    /// Makes the following list of an account be a given one.
    ReplaceFollowing,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Erase, Self::Archive, Self::Restore, Self::MakePublic, Self::ReplaceFollowing];

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Erase => "erase",
            Self::Archive => "archive",
            Self::Restore => "restore",
            Self::MakePublic => "make_public",
            Self::ReplaceFollowing => "replace_following",
        }
    }

    /// Its name in the database. Programs of 0.1.0 leave `replace_list` alone: they know lists in cursors only.
    pub fn stored(self) -> &'static str {
        match self {
            Self::ReplaceFollowing => "replace_list",
            kind => kind.name(),
        }
    }

    /// By its name in the database.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.stored() == name || kind.name() == name)
    }
}

/// A job that a command starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// The account that it is about.
    pub user: UserId,
    /// For a replacement: the job whose list is in the database already.
    pub prepared: Option<Uuid>,
    /// For a replacement: number of changes. The worker counts those of other jobs.
    pub total: usize,
}
