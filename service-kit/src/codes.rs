//! gRPC codes in labels of metrics.

use std::sync::OnceLock;

use metrics::{Counter, Label, counter};
use tonic::Code;

/// Names of the codes as dashboards of other gRPC servers spell them, in the order of their numbers.
const CODES: [&str; 17] = [
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

/// A counter with a label for the code. Each is created at its first use: one created before the exporter is lost.
#[derive(Debug)]
pub(crate) struct CounterByCode {
    name: &'static str,
    labels: Vec<Label>,
    counters: [OnceLock<Counter>; CODES.len()],
}

impl CounterByCode {
    /// A counter with these labels and `grpc_code`.
    pub(crate) fn new(name: &'static str, labels: Vec<Label>) -> Self {
        Self { name, labels, counters: Default::default() }
    }

    /// Counts an outcome.
    pub(crate) fn count(&self, code: Code) {
        // A code is a number from 0 to 16.
        let counter = self.counters[code as usize].get_or_init(|| {
            let mut labels = self.labels.clone();
            labels.push(Label::new("grpc_code", code_name(code)));
            counter!(self.name, labels)
        });
        counter.increment(1);
    }
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
