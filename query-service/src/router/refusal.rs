//! Errors of reads that no store answered, with their retry delays.

use std::time::Duration;

use service_kit::ids;

use super::ReadSource;
use super::budget::{Exhausted, Limit};

/// Default retry delay.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Bounds of the retry delay that is derived from the lag.
const SHORTEST_LAG: Duration = Duration::from_millis(100);
const LONGEST_LAG: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token is of another history.
    #[error("is of another epoch")]
    EpochChanged,
    /// The token is beyond the newest revision.
    #[error("is beyond the newest revision")]
    TokenAhead,
    /// No read model can answer, and the fallback budget is used up.
    #[error("the fallback budget (reads from PostgreSQL) is used up")]
    BudgetExhausted { limit: Limit, retry_after: Duration },
    /// No store can answer.
    #[error("no store can answer now")]
    Unavailable { retry_after: Duration },
    /// Too many reads of this process wait for the read models.
    #[error("too many reads wait for the read models")]
    Busy {
        /// This caller has used up its share, and another caller was rejected.
        share: bool,
        retry_after: Duration,
    },
    /// The read models lag behind the caller's token, or change too fast, and no other store can answer the question.
    #[error("the read models are behind")]
    Behind {
        /// About their lag.
        retry_after: Duration,
    },
    /// The only allowed store can never answer this question. A retry cannot succeed.
    #[error("reads are set to one store (READ_SOURCE), which cannot answer this")]
    RuledOut {
        /// The configured source.
        read_source: ReadSource,
    },
    /// The deadline of the call has passed.
    #[error("the deadline of the call passed")]
    DeadlineExceeded,
}

impl Refusal {
    pub(super) fn unavailable() -> Self {
        Self::Unavailable { retry_after: jittered(RETRY_AFTER) }
    }

    /// Too many reads of this process wait for the read models, or too many of this caller while others are rejected.
    pub(super) fn busy(share: bool) -> Self {
        Self::Busy { share, retry_after: jittered(RETRY_AFTER) }
    }

    /// The read models lag by this much.
    pub(super) fn behind(lag: Duration) -> Self {
        Self::Behind { retry_after: jittered(lag.clamp(SHORTEST_LAG, LONGEST_LAG)) }
    }

    /// Label of metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::EpochChanged => "epoch_changed",
            Self::TokenAhead => "token_ahead",
            Self::BudgetExhausted { limit: Limit::Rate, .. } => "budget_rate",
            Self::BudgetExhausted { limit: Limit::Share, .. } => "budget_share",
            Self::BudgetExhausted { limit: Limit::Concurrency, .. } => "budget_concurrency",
            Self::Unavailable { .. } => "unavailable",
            Self::Behind { .. } => "behind",
            Self::Busy { share: true, .. } => "busy_share",
            Self::Busy { share: false, .. } => "busy",
            Self::RuledOut { .. } => "ruled_out",
            Self::DeadlineExceeded => "deadline",
        }
    }
}

impl From<Exhausted> for Refusal {
    fn from(error: Exhausted) -> Self {
        Self::BudgetExhausted { limit: error.limit, retry_after: jittered(error.retry_after) }
    }
}

/// Randomizes to one to two times the delay, so that callers that were rejected together do not retry together.
fn jittered(after: Duration) -> Duration {
    ids::jitter(after, 1.0..=2.0)
}
