//! Converts refusals to gRPC errors without any text of a store.

use proto::error::{Reason, ServiceError};

use crate::queries::Error;
use crate::router::Refusal;

/// Error of a question without an answer; `token_field` is the field with the required revision.
pub fn refusal(refusal: Refusal, token_field: &str) -> ServiceError {
    let message = refusal.to_string();
    let later = |reason, retry_after| ServiceError::new(reason, &message).retry_after(retry_after);
    match refusal {
        Refusal::EpochChanged => ServiceError::field(Reason::EpochChanged, token_field, message),
        Refusal::TokenAhead => ServiceError::field(Reason::TokenAhead, token_field, message),
        Refusal::BudgetExhausted { limit, retry_after } => {
            later(Reason::FallbackBudgetExhausted, retry_after).with("limit", limit.name())
        }
        Refusal::Unavailable { retry_after } => later(Reason::StoreUnavailable, retry_after),
        Refusal::Behind { retry_after } => later(Reason::ReadModelBehind, retry_after),
        Refusal::Busy { retry_after, .. } => later(Reason::ReadModelBusy, retry_after),
        Refusal::RuledOut { read_source } => {
            ServiceError::new(Reason::PreconditionFailed, message).with("read_source", read_source.name())
        }
        Refusal::DeadlineExceeded => ServiceError::new(Reason::DeadlineExceeded, message),
    }
}

/// Error that ends an export.
pub fn export(error: &Error) -> ServiceError {
    tracing::warn!(error = error as &dyn std::error::Error, "an export failed");
    ServiceError::new(
        Reason::StoreUnavailable,
        "the source of truth does not answer; resume the export later",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::error::reason_of;
    use tonic::{Code, Status};
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::router::{Limit, ReadSource};

    #[test]
    fn every_refusal_has_its_code_and_says_when_to_come_back() {
        let after = Duration::from_millis(70);
        for (given, code, reason, retry) in [
            (Refusal::EpochChanged, Code::FailedPrecondition, Reason::EpochChanged, None),
            (Refusal::TokenAhead, Code::InvalidArgument, Reason::TokenAhead, None),
            (
                Refusal::BudgetExhausted { limit: Limit::Rate, retry_after: after },
                Code::ResourceExhausted,
                Reason::FallbackBudgetExhausted,
                Some(after),
            ),
            (
                Refusal::Unavailable { retry_after: after },
                Code::Unavailable,
                Reason::StoreUnavailable,
                Some(after),
            ),
            (Refusal::Behind { retry_after: after }, Code::Unavailable, Reason::ReadModelBehind, Some(after)),
            (
                Refusal::Busy { share: false, retry_after: after },
                Code::ResourceExhausted,
                Reason::ReadModelBusy,
                Some(after),
            ),
            (
                Refusal::RuledOut { read_source: ReadSource::Neo4j },
                Code::FailedPrecondition,
                Reason::PreconditionFailed,
                None,
            ),
            (Refusal::DeadlineExceeded, Code::DeadlineExceeded, Reason::DeadlineExceeded, None),
        ] {
            let status = Status::from(refusal(given, "page_token"));
            assert_eq!(status.code(), code);
            assert_eq!(reason_of(&status), Some(reason));
            let fields = status.get_details_bad_request().map(|bad| bad.field_violations.len());
            let about_a_token = matches!(reason, Reason::EpochChanged | Reason::TokenAhead);
            assert_eq!(fields, about_a_token.then_some(1));
            assert_eq!(status.get_details_retry_info().and_then(|info| info.retry_delay), retry);
        }
    }
}
