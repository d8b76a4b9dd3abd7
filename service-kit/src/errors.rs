//! Errors that this crate returns from calls, before or in place of the handler's. Their reasons are part of the table
//! in `proto`, which this crate does not depend on.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::ids;

/// The domain of `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "followgraph";
/// Bytes that are not the method's message.
pub const MALFORMED_MESSAGE: &str = "MALFORMED_MESSAGE";
/// A message above the limit.
pub const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";
/// A request compressed in a way that is not read here.
pub const UNSUPPORTED_ENCODING: &str = "UNSUPPORTED_ENCODING";
/// The caller's deadline passed.
pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
/// No token, or an unknown one.
pub const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// The token does not allow this.
pub const SCOPE_MISSING: &str = "SCOPE_MISSING";
/// The process or the connection is about to end.
pub const SHUTTING_DOWN: &str = "SHUTTING_DOWN";
/// The server, or this caller's share of it, has as many calls or request bytes as it takes.
pub const TOO_MANY_CALLS: &str = "TOO_MANY_CALLS";
/// The client does not take the responses that it has.
pub const RESPONSES_NOT_TAKEN: &str = "RESPONSES_NOT_TAKEN";
/// The request stopped arriving.
pub const REQUEST_STALLED: &str = "REQUEST_STALLED";
/// A fault of the server.
pub const INTERNAL: &str = "INTERNAL";

/// A status with `google.rpc.ErrorInfo`.
pub fn status(code: Code, reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::<String, String>::new());
    Status::with_error_details(code, message, details)
}

/// A refusal that can succeed later: RetryInfo spreads the retries over a second.
fn busy(reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::<String, String>::new());
    details.set_retry_info(Some(ids::jitter(Duration::from_secs(1), 0.5..=1.5)));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// The process, or this caller's share of it, has reached its limit of calls or request bytes in progress.
pub(crate) fn too_many_calls() -> Status {
    busy(TOO_MANY_CALLS, "too many calls or request bytes are in progress; retry later")
}

/// Responses wait for this connection's client, or for all clients together.
pub(crate) fn responses_not_taken() -> Status {
    busy(
        RESPONSES_NOT_TAKEN,
        "too many response bytes are unread; read the responses in progress, then retry",
    )
}

/// The body of the request stopped arriving.
pub(crate) fn request_stalled() -> Status {
    status(Code::DeadlineExceeded, REQUEST_STALLED, "the request stopped arriving; nothing was done")
}

/// The deadline passed.
pub(crate) fn deadline_exceeded() -> Status {
    status(Code::DeadlineExceeded, DEADLINE_EXCEEDED, "the deadline of the call passed")
}

/// A handler panicked.
pub(crate) fn internal() -> Status {
    status(Code::Internal, INTERNAL, "the server failed; the fault is in its log")
}

/// A stream is ended because the process stops, or because its connection is too old.
pub(crate) fn shutting_down() -> Status {
    status(Code::Unavailable, SHUTTING_DOWN, "this connection is closing; retry on another connection")
}

#[cfg(test)]
mod tests {
    use proto::error::{self, Reason};

    use super::*;

    #[test]
    fn every_reason_is_one_of_the_contract_with_the_code_that_it_promises() {
        assert_eq!(DOMAIN, error::DOMAIN);
        for (reason, promised) in [
            (MALFORMED_MESSAGE, Code::InvalidArgument),
            (MESSAGE_TOO_LARGE, Code::ResourceExhausted),
            (UNSUPPORTED_ENCODING, Code::Unimplemented),
            (DEADLINE_EXCEEDED, Code::DeadlineExceeded),
            (UNAUTHENTICATED, Code::Unauthenticated),
            (SCOPE_MISSING, Code::PermissionDenied),
            (SHUTTING_DOWN, Code::Unavailable),
            (TOO_MANY_CALLS, Code::ResourceExhausted),
            (RESPONSES_NOT_TAKEN, Code::ResourceExhausted),
            (REQUEST_STALLED, Code::DeadlineExceeded),
            (INTERNAL, Code::Internal),
        ] {
            let known = Reason::from_str_name(&format!("ERROR_REASON_{reason}")).expect(reason);
            assert_eq!(error::code(known), promised, "{reason}");
        }
    }
}
