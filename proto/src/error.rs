//! Errors as clients see them: one closed list of reasons, one table to codes.
//!
//! Every error of both services is a [`ServiceError`] turned into a
//! `tonic::Status` with `google.rpc` details, so that clients never parse text.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

pub use crate::generated::graph::v1::ErrorReason as Reason;
use crate::ids::InvalidId;

/// `ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "followgraph";

/// The code of each reason, as in the comments of error_reason.proto.
pub fn code(reason: Reason) -> Code {
    use Reason as R;
    match reason {
        R::FieldRequired
        | R::InvalidUuid
        | R::NilUuid
        | R::SelfEdge
        | R::TooManyItems
        | R::NegativePageSize
        | R::InvalidPageToken
        | R::InvalidToken
        | R::TokenAhead
        | R::UnknownEnumValue
        | R::InvalidConsistency
        | R::InvalidTimestamp
        | R::MalformedMessage => Code::InvalidArgument,
        R::EpochChanged | R::Blocked | R::AccountArchived | R::AccountErasing | R::PreconditionFailed => {
            Code::FailedPrecondition
        }
        R::RequestNotFound | R::JobNotFound => Code::NotFound,
        R::RequestIdReused | R::EdgeExists => Code::AlreadyExists,
        R::Unauthenticated => Code::Unauthenticated,
        R::ScopeMissing | R::WritesDisabled | R::LegacyReadsDisabled => Code::PermissionDenied,
        R::MessageTooLarge
        | R::Overloaded
        | R::FallbackBudgetExhausted
        | R::ReadModelBusy
        | R::FollowCapReached
        | R::RateLimited
        | R::CommitTimedOut
        | R::WatcherTooSlow
        | R::TooManyCalls
        | R::ResponsesNotTaken => Code::ResourceExhausted,
        R::RevisionPruned => Code::OutOfRange,
        R::DeadlineExceeded | R::RequestStalled => Code::DeadlineExceeded,
        R::WrongService | R::UnsupportedEncoding => Code::Unimplemented,
        R::NotCommitted | R::OutcomeUnknown | R::StoreUnavailable | R::ReadModelBehind | R::ShuttingDown => {
            Code::Unavailable
        }
        R::Unspecified | R::Internal => Code::Internal,
    }
}

/// The text in `ErrorInfo.reason`: the enum's name without its prefix.
pub fn reason_name(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

/// An error for a client. The message is for people: lower case, no full stop, no text of a database.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    /// For programs; determines the code.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// The request's field at fault, for example `target_ids[3]`.
    pub field: Option<String>,
    /// Earliest useful retry.
    pub retry_after: Option<Duration>,
    /// The exhausted quota: its owner, and what it allows.
    pub quota: Option<Box<(String, String)>>,
    /// Entries of ErrorInfo.metadata.
    pub metadata: Vec<(&'static str, String)>,
}

impl ServiceError {
    /// An error without a field at fault.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            field: None,
            retry_after: None,
            quota: None,
            metadata: Vec::new(),
        }
    }

    /// An error of one field; the message reads as `field message`.
    pub fn field(reason: Reason, field: impl Into<String>, message: impl std::fmt::Display) -> Self {
        let field = field.into();
        let error = Self::new(reason, format!("{field} {message}"));
        Self { field: Some(field), ..error }
    }

    /// An id that cannot be read.
    pub fn invalid_id(field: impl Into<String>, error: InvalidId) -> Self {
        let reason = match error {
            InvalidId::Empty => Reason::FieldRequired,
            InvalidId::NotUuid => Reason::InvalidUuid,
            InvalidId::Nil => Reason::NilUuid,
        };
        Self::field(reason, field, error)
    }

    /// Sets the earliest useful retry (RetryInfo).
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Sets the exhausted quota: its owner, and what it allows.
    #[must_use]
    pub fn quota(mut self, subject: impl std::fmt::Display, allows: impl std::fmt::Display) -> Self {
        self.quota = Some(Box::new((subject.to_string(), allows.to_string())));
        self
    }

    /// Adds to ErrorInfo.metadata.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl std::fmt::Display) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let mut details = ErrorDetails::new();
        let metadata: HashMap<String, String> =
            error.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        details.set_error_info(reason_name(error.reason), DOMAIN, metadata);
        if let Some(field) = error.field {
            details.add_bad_request_violation(field, &error.message);
        }
        if let Some(after) = error.retry_after {
            details.set_retry_info(Some(after));
        }
        if let Some(quota) = error.quota {
            details.add_quota_failure_violation(quota.0, quota.1);
        }
        Status::with_error_details(code(error.reason), error.message, details)
    }
}

/// The reason of an answer; `None` if it is not one of ours.
pub fn reason_of(status: &Status) -> Option<Reason> {
    let details = status.get_error_details();
    let info = details.error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    Reason::from_str_name(&format!("ERROR_REASON_{}", info.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_reason_field_and_retry() {
        let error = ServiceError::field(Reason::InvalidUuid, "actor_id", InvalidId::NotUuid)
            .retry_after(Duration::from_millis(20))
            .with("limit", 7);
        let status = Status::from(error);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "actor_id must be a hyphenated UUID");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(info.reason, "INVALID_UUID");
        assert_eq!(info.metadata["limit"], "7");
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "actor_id");
        assert!(details.retry_info().unwrap().retry_delay.is_some());
        assert_eq!(reason_of(&status), Some(Reason::InvalidUuid));
    }
}
