//! Jobs: changes too large for one event, done in chunks.

use proto::UserId;

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

    /// Its name in the database and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Erase => "erase",
            Self::Archive => "archive",
            Self::Restore => "restore",
            Self::MakePublic => "make_public",
            Self::ReplaceFollowing => "replace_following",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A job that a command starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// The account that it is about.
    pub user: UserId,
    /// For a replacement: whom the account shall follow.
    pub targets: Vec<UserId>,
    /// For a replacement: how many changes that takes. Others are counted later.
    pub total: usize,
}
