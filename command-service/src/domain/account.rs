//! Accounts: counts, flags, and how many others one may follow.

/// Whether an account takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountState {
    /// It does.
    #[default]
    Active,
    /// Its edges are hidden, or on their way there.
    Archived,
    /// Its edges are coming back. Commands treat it as archived until they all are;
    /// edges treat it as active, so that two accounts that come back at the same time
    /// find each other.
    Restoring,
    /// It is on its way out; nothing new may touch it.
    Erasing,
}

impl AccountState {
    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Archived => "archived",
            Self::Restoring => "restoring",
            Self::Erasing => "erasing",
        }
    }

    /// By its name in the database; the check on the column rules out others.
    pub fn named(name: &str) -> Self {
        match name {
            "archived" => Self::Archived,
            "restoring" => Self::Restoring,
            "erasing" => Self::Erasing,
            _ => Self::Active,
        }
    }

    /// Its edges are shown, as far as this end goes.
    pub fn shows_edges(self) -> bool {
        matches!(self, Self::Active | Self::Restoring)
    }

    /// Some of its edges may be in the archive.
    pub fn has_archive(self) -> bool {
        self != Self::Active
    }
}

/// Counts and flags of an account. An account without a row is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// How many follow it.
    pub followers: u64,
    /// How many it follows.
    pub following: u64,
    /// How many it has muted.
    pub muting: u64,
    /// How many it has blocked.
    pub blocking: u64,
    /// Its pending requests.
    pub requests_sent: u64,
    /// Pending requests to it.
    pub requests_received: u64,
    /// Follows need its consent.
    pub private: bool,
    /// Whether it takes part.
    pub state: AccountState,
}

impl Account {
    /// Some edge of it is visible, as far as its counts show.
    pub fn has_edges(&self) -> bool {
        self.followers
            + self.following
            + self.muting
            + self.blocking
            + self.requests_sent
            + self.requests_received
            > 0
    }
}

/// How many others an account may follow, pending requests counted in: as many as
/// `base`, or as many as follow it times `per_follower`, whichever is more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FollowCap {
    /// What everybody may.
    pub base: u64,
    /// For each of one's own followers.
    pub per_follower: f64,
}

impl FollowCap {
    /// The cap of an account.
    pub fn of(&self, account: &Account) -> u64 {
        // Rounding far beyond 2^53 does not matter to a cap.
        self.base.max((account.followers as f64 * self.per_follower) as u64)
    }

    /// One more would be too many.
    pub fn is_reached(&self, account: &Account) -> bool {
        account.following + account.requests_sent >= self.of(account)
    }
}
