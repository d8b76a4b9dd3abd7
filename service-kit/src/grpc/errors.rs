//! Errors that this layer answers by itself.
//!
//! Owns: their construction. Handlers have their own table of reasons; these names are part of it.
//! Must not know: any error of a handler.
//! What can go wrong: nothing.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "followgraph";
/// Bytes that are not the method's message.
pub const MALFORMED_MESSAGE: &str = "MALFORMED_MESSAGE";
/// A message above the limit.
pub const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";
/// The caller's deadline passed.
pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
/// No token, or an unknown one.
pub const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// The token does not allow this.
pub const SCOPE_MISSING: &str = "SCOPE_MISSING";
/// The process or the connection is about to end.
pub const SHUTTING_DOWN: &str = "SHUTTING_DOWN";
/// A fault of the server.
pub const INTERNAL: &str = "INTERNAL";

/// A status with `google.rpc.ErrorInfo`.
pub fn status(code: Code, reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::<String, String>::new());
    Status::with_error_details(code, message, details)
}

/// The deadline passed.
pub(super) fn deadline_exceeded() -> Status {
    status(Code::DeadlineExceeded, DEADLINE_EXCEEDED, "the deadline of the call passed")
}

/// A handler panicked.
pub(super) fn internal() -> Status {
    status(Code::Internal, INTERNAL, "the server failed; the fault is in its log")
}

/// A stream is ended because the process stops, or because its connection is too old.
pub(super) fn shutting_down() -> Status {
    status(Code::Unavailable, SHUTTING_DOWN, "this connection is closing; call again to go on elsewhere")
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
            (DEADLINE_EXCEEDED, Code::DeadlineExceeded),
            (UNAUTHENTICATED, Code::Unauthenticated),
            (SCOPE_MISSING, Code::PermissionDenied),
            (SHUTTING_DOWN, Code::Unavailable),
            (INTERNAL, Code::Internal),
        ] {
            let known = Reason::from_str_name(&format!("ERROR_REASON_{reason}")).expect(reason);
            assert_eq!(error::code(known), promised, "{reason}");
        }
    }
}
