//! Maps failures of commands to errors of the contract.

use std::time::Duration;

use proto::error::{Reason, ServiceError};
use service_kit::ids;

use super::relationship_json::relationship_json;
use crate::committer::{Failure, QueueFull};
use crate::domain::{Refusal, Refused};

/// Base of the retry delay after a full queue.
const QUEUE_RETRY: Duration = Duration::from_millis(100);

/// Error of a failed command.
pub fn failure(failure: &Failure) -> ServiceError {
    let error = ServiceError::new(reason(failure), failure.to_string());
    match failure {
        Failure::Refused(refused) => refusal(error, refused.refusal),
        Failure::NotAsExpected(_, state) => error
            .with("etag", &state.etag)
            .with("following", state.following)
            .with("relationship", relationship_json(state)),
        Failure::RequestIdReused => ServiceError { field: Some("request_id".to_owned()), ..error },
        Failure::NotCommitted | Failure::OutcomeUnknown => error.retry_after(Duration::from_secs(1)),
        Failure::TimedOut | Failure::Forked | Failure::Internal => error,
    }
}

/// Index of the command or item that caused a failure.
pub fn index(failure: &Failure) -> Option<usize> {
    match failure {
        Failure::Refused(Refused { index, .. }) | Failure::NotAsExpected(Refused { index, .. }, _) => *index,
        _ => None,
    }
}

fn refusal(error: ServiceError, refusal: Refusal) -> ServiceError {
    match refusal {
        Refusal::Archived(user) | Refusal::Erasing(user) => error.with("user_id", user),
        Refusal::FollowCap { user, cap } => error
            .quota(format!("account:{user}"), format!("following at most {cap} accounts"))
            .with("limit", cap),
        Refusal::ExpiryPast | Refusal::ExpiryTooFar => {
            ServiceError { field: Some("expires_at".to_owned()), ..error }
        }
        Refusal::Blocked
        | Refusal::NoRequest
        | Refusal::NotAsExpected { .. }
        | Refusal::ListChanged
        | Refusal::ListDiscarded => error,
    }
}

fn reason(failure: &Failure) -> Reason {
    match failure {
        Failure::Refused(refused) | Failure::NotAsExpected(refused, _) => refused.refusal.reason(),
        Failure::RequestIdReused => Reason::RequestIdReused,
        Failure::NotCommitted | Failure::Forked => Reason::NotCommitted,
        Failure::OutcomeUnknown => Reason::OutcomeUnknown,
        Failure::TimedOut => Reason::CommitTimedOut,
        Failure::Internal => Reason::Internal,
    }
}

/// Error of a command that the queue refused.
pub fn queue_full(error: QueueFull) -> ServiceError {
    ServiceError::new(Reason::Overloaded, error.to_string()).retry_after(ids::jitter(QUEUE_RETRY, 1.0..=2.0))
}
