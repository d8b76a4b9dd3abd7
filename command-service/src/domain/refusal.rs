//! Why rules refuse commands.

use proto::UserId;
use proto::error::Reason;

/// A rule that refuses a command.
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
    /// The request to accept does not exist.
    #[error("there is no request to accept")]
    NoRequest,
    /// The precondition on the pair failed.
    #[error("the pair is in another state than the command expects")]
    NotAsExpected {
        /// The account whose view of the pair was compared.
        actor: UserId,
        /// The other account.
        other: UserId,
    },
    /// The account has reached its follow cap.
    #[error("the account {user} has reached its follow cap of {cap} (pending requests count)")]
    FollowCap {
        /// The account.
        user: UserId,
        /// Its cap.
        cap: u64,
    },
    /// The list, or an account of it, has changed since the plan of a replacement.
    #[error("the following list has changed in the meantime")]
    ListChanged,
    /// The prepared job was deleted because its call had ended.
    #[error("the list of the replacement was discarded")]
    ListDiscarded,
    /// The expiry is not in the future.
    #[error("expires_at must lie in the future")]
    ExpiryPast,
    /// The expiry is more than ten years ahead.
    #[error("expires_at must lie at most ten years ahead")]
    ExpiryTooFar,
}

impl Refusal {
    /// Reason for clients.
    pub fn reason(self) -> Reason {
        match self {
            Self::Blocked => Reason::Blocked,
            Self::Archived(_) => Reason::AccountArchived,
            Self::Erasing(_) => Reason::AccountErasing,
            Self::NoRequest => Reason::RequestNotFound,
            Self::NotAsExpected { .. } => Reason::PreconditionFailed,
            Self::FollowCap { .. } => Reason::FollowCapReached,
            // The call plans again; no client sees these.
            Self::ListChanged | Self::ListDiscarded => Reason::NotCommitted,
            Self::ExpiryPast | Self::ExpiryTooFar => Reason::InvalidTimestamp,
        }
    }
}

/// A refusal, and the command or item that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct Refused {
    /// The rule.
    pub refusal: Refusal,
    /// Index in a batch or a list; `None` for a single command.
    pub index: Option<usize>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, index: None }
    }
}
