//! Reasons for falling back to PostgreSQL; labels of metrics and explanations.

use crate::replicas::Unfit;

/// Why no read model answers a question. A closed set, since it is a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The caller requires PostgreSQL.
    Asked,
    /// `READ_SOURCE=postgres`.
    Configured,
    /// The breaker is open.
    Down,
    /// It has no checkpoint.
    NotBuilt,
    /// Its first build is not finished.
    NotComplete,
    /// It lags too far for any read.
    Stale,
    /// It is of another epoch or another database.
    OtherHistory,
    /// It is behind the caller's token.
    Behind,
    /// Only PostgreSQL knows whether the token's epoch exists.
    Epoch,
    /// Its answer could not be brought to one revision.
    NotExact,
    /// It did not answer in time.
    Slow,
    /// Too many reads of this process wait for it.
    Busy,
    /// It failed.
    Failed,
}

impl Fallback {
    /// Name in metrics and explanations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Configured => "configured",
            Self::Down => "down",
            Self::NotBuilt => "not_built",
            Self::NotComplete => "not_complete",
            Self::Stale => "stale",
            Self::OtherHistory => "other_history",
            Self::Behind => "behind",
            Self::Epoch => "epoch",
            Self::NotExact => "not_exact",
            Self::Slow => "slow",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

impl From<Unfit> for Fallback {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Down => Self::Down,
            Unfit::NotBuilt => Self::NotBuilt,
            Unfit::NotComplete => Self::NotComplete,
            Unfit::Stale => Self::Stale,
            Unfit::OtherHistory => Self::OtherHistory,
        }
    }
}
