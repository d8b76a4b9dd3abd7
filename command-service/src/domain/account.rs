//! Accounts: counts, flags, and the follow cap.

/// Whether an account is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountState {
    /// The normal state.
    #[default]
    Active,
    /// Its edges are archived, or a job is archiving them.
    Archived,
    /// A job is restoring its edges. Commands treat it as archived until the job is done. The job treats it as active,
    /// so that two accounts restored at the same time get the edges between them back.
    Restoring,
    /// A job is removing its edges; commands about it are refused.
    Erasing,
}

impl AccountState {
    /// Value of the column `accounts.state`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Archived => "archived",
            Self::Restoring => "restoring",
            Self::Erasing => "erasing",
        }
    }

    /// Reads the column `accounts.state`, whose check allows no other values.
    pub fn named(name: &str) -> Self {
        match name {
            "archived" => Self::Archived,
            "restoring" => Self::Restoring,
            "erasing" => Self::Erasing,
            _ => Self::Active,
        }
    }

    /// Whether an edge with this end can be live.
    pub fn shows_edges(self) -> bool {
        matches!(self, Self::Active | Self::Restoring)
    }

    /// Whether some of its edges may be archived.
    pub fn has_archive(self) -> bool {
        self != Self::Active
    }
}

/// Counts and flags of an account. The default is an account without a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Number of its followers.
    pub followers: u64,
    /// Number of accounts that it follows.
    pub following: u64,
    /// Number of accounts that it has muted.
    pub muting: u64,
    /// Number of accounts that it has blocked.
    pub blocking: u64,
    /// Number of its pending follow requests.
    pub requests_sent: u64,
    /// Number of pending follow requests to it.
    pub requests_received: u64,
    /// Following it requires its consent.
    pub private: bool,
    /// Its state; commands need an active account.
    pub state: AccountState,
}

impl Account {
    /// Whether any count is above 0. Mutes and blocks by others are not counted.
    pub fn has_edges(&self) -> bool {
        let Self { followers, following, muting, blocking, requests_sent, requests_received, .. } = *self;
        [followers, following, muting, blocking, requests_sent, requests_received].iter().any(|n| *n > 0)
    }
}

/// How many accounts one account may follow, including pending requests: the larger of `base` and its followers times
/// `per_follower`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FollowCap {
    /// Cap of an account with few followers.
    pub base: u64,
    /// Cap per follower.
    pub per_follower: f64,
}

impl FollowCap {
    /// The cap of an account.
    pub fn of(&self, account: &Account) -> u64 {
        // Precision above 2^53 does not matter to a cap.
        self.base.max((account.followers as f64 * self.per_follower) as u64)
    }

    /// Whether one more follow would exceed the cap.
    pub fn is_reached(&self, account: &Account) -> bool {
        account.following + account.requests_sent >= self.of(account)
    }
}
