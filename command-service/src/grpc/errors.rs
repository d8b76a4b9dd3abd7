//! From failures of commands to errors of the contract.

use std::time::Duration;

use proto::error::{Reason, ServiceError};
use service_kit::ids;

use super::relationship_json::relationship_json;
use crate::committer::{Failure, QueueFull};
use crate::domain::{Refusal, Refused};

/// When a full queue is worth another try.
const QUEUE_RETRY: Duration = Duration::from_millis(100);

/// The error of a command that failed.
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

/// Which of several commands or items a failure is about.
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

/// No command is taken on a history that others know otherwise: its revisions would be given out twice, and a token of
/// one of the two would be taken for that of the other.
pub fn forked() -> ServiceError {
    failure(&Failure::Forked)
}

/// The error of a command for which there was no room.
pub fn queue_full(error: QueueFull) -> ServiceError {
    ServiceError::new(Reason::Overloaded, error.to_string()).retry_after(ids::jitter(QUEUE_RETRY, 1.0..=2.0))
}
