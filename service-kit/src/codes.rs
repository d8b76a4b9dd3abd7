//! The names of gRPC codes in labels of metrics.

use tonic::Code;

/// Names of the codes as dashboards of other gRPC servers spell them, in the order of their numbers.
pub(crate) const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The name of a code in labels.
pub(crate) fn code_name(code: Code) -> &'static str {
    // A code is a number from 0 to 16.
    CODES[code as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_name() {
        assert_eq!(CODES[Code::Unauthenticated as usize], "Unauthenticated");
        assert_eq!(CODES[Code::DeadlineExceeded as usize], "DeadlineExceeded");
        assert_eq!(CODES[Code::Cancelled as usize], "Canceled");
    }
}
