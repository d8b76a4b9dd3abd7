//! Rules that stand against commands.

use proto::UserId;
use proto::error::Reason;

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One of the two has blocked the other.
    #[error("one of the two accounts has blocked the other")]
    Blocked,
    /// An account is archived.
    #[error("the account {0} is archived")]
    Archived(UserId),
    /// An account is being erased.
    #[error("the account {0} is being erased")]
    Erasing(UserId),
    /// There is no request to accept.
    #[error("there is no request to accept")]
    NoRequest,
    /// The pair is in another state than the command expects.
    #[error("the pair is in another state than the command expects")]
    NotAsExpected {
        /// The account whose view of the pair counts.
        actor: UserId,
        /// The other one.
        other: UserId,
    },
    /// The account follows as many as it may.
    #[error("the account {user} follows, or asks to follow, as many others as it may: {cap}")]
    FollowCap {
        /// The account.
        user: UserId,
        /// How many it may follow.
        cap: u64,
    },
    /// The list, or an account of it, has changed since a replacement was planned.
    #[error("the following list has changed in the meantime")]
    ListChanged,
    /// The call that wrote the list of a job has ended, and the list with it.
    #[error("the list of the replacement was discarded")]
    ListDiscarded,
    /// An expiry that is not in the future.
    #[error("expires_at must lie in the future")]
    ExpiryPast,
    /// An expiry too far away.
    #[error("expires_at must lie at most ten years ahead")]
    ExpiryTooFar,
}

impl Refusal {
    /// The reason that clients get.
    pub fn reason(self) -> Reason {
        match self {
            Self::Blocked => Reason::Blocked,
            Self::Archived(_) => Reason::AccountArchived,
            Self::Erasing(_) => Reason::AccountErasing,
            Self::NoRequest => Reason::RequestNotFound,
            Self::NotAsExpected { .. } => Reason::PreconditionFailed,
            Self::FollowCap { .. } => Reason::FollowCapReached,
            // Planned again before a client sees it.
            Self::ListChanged | Self::ListDiscarded => Reason::NotCommitted,
            Self::ExpiryPast | Self::ExpiryTooFar => Reason::InvalidTimestamp,
        }
    }
}

/// A refusal, and which of several commands (or items) it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// Its place, from 0, in a batch or a list.
    pub index: Option<usize>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, index: None }
    }
}
