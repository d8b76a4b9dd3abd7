//! The methods that a server has, and their metrics.
//!
//! Owns: the closed sets behind the labels: services and methods come from the descriptors, everything else is
//! `unknown`. Handles are made once, so a call costs no lookup by label.
//! Must not know: what a method does.
//! What can go wrong: descriptors that do not parse.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use metrics::{Counter, Histogram, Label, counter, histogram};
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tonic::Code;

use crate::metrics::{GRPC_HANDLED, GRPC_PANICS, GRPC_SECONDS, GRPC_STARTED};
use crate::trace::Span;

/// One method, or the one that stands for all unknown ones.
#[derive(Debug)]
pub(super) struct Method {
    /// Its path, for logs.
    pub(super) path: String,
    /// True if the request or the response is a stream.
    pub(super) streaming: bool,
    /// True if the response is a stream.
    pub(super) response_streaming: bool,
    labels: Vec<Label>,
    started: Counter,
    seconds: Histogram,
    panics: Counter,
    handled: [OnceLock<Counter>; CODES.len()],
}

/// Names of the codes as dashboards for other gRPC servers know them, in the order of their numbers.
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

impl Method {
    fn new(service: &str, method: &str, client_streams: bool, server_streams: bool) -> Self {
        let kind = match (client_streams, server_streams) {
            (false, false) => "unary",
            (false, true) => "server_stream",
            (true, false) => "client_stream",
            (true, true) => "bidi_stream",
        };
        let labels = vec![
            Label::new("grpc_service", service.to_owned()),
            Label::new("grpc_method", method.to_owned()),
            Label::new("grpc_type", kind),
        ];
        Self {
            path: format!("/{service}/{method}"),
            streaming: client_streams || server_streams,
            response_streaming: server_streams,
            started: counter!(GRPC_STARTED, labels.clone()),
            seconds: histogram!(GRPC_SECONDS, labels.clone()),
            panics: counter!(GRPC_PANICS, labels.clone()),
            handled: [const { OnceLock::new() }; CODES.len()],
            labels,
        }
    }

    /// Counts a panic of the handler.
    pub(super) fn panicked(&self) {
        self.panics.increment(1);
    }

    fn handled(&self, code: Code) -> &Counter {
        // A code is a number from 0 to 16.
        let place = code as usize;
        self.handled[place].get_or_init(|| {
            let mut labels = self.labels.clone();
            labels.push(Label::new("grpc_code", CODES[place]));
            counter!(GRPC_HANDLED, labels)
        })
    }
}

/// All methods of a server by path.
#[derive(Debug)]
pub(super) struct Methods {
    by_path: HashMap<String, Arc<Method>>,
    unknown: Arc<Method>,
}

impl Methods {
    /// Reads the methods from encoded descriptor sets.
    pub(super) fn new(descriptor_sets: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut by_path = HashMap::new();
        for set in descriptor_sets {
            for file in FileDescriptorSet::decode(*set)?.file {
                for service in &file.service {
                    let name = format!("{}.{}", file.package(), service.name());
                    for method in &service.method {
                        by_path.insert(
                            format!("/{name}/{}", method.name()),
                            Arc::new(Method::new(
                                &name,
                                method.name(),
                                method.client_streaming(),
                                method.server_streaming(),
                            )),
                        );
                    }
                }
            }
        }
        Ok(Self { by_path, unknown: Arc::new(Method::new("unknown", "unknown", false, false)) })
    }

    /// The method at a path.
    pub(super) fn at(&self, path: &str) -> Arc<Method> {
        self.by_path.get(path).unwrap_or(&self.unknown).clone()
    }
}

/// A call under way. Dropped without an outcome, it counts as cancelled by the caller.
#[derive(Debug)]
pub(super) struct Running {
    method: Arc<Method>,
    started: Instant,
    finished: bool,
    span: Span,
}

impl Running {
    /// Counts the start of a call.
    pub(super) fn start(method: Arc<Method>) -> Self {
        method.started.increment(1);
        Self { method, started: Instant::now(), finished: false, span: Span::default() }
    }

    /// The method that is called.
    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// Begins the call's span, in its caller's trace if there is one; answers the header for what is done for the call.
    pub(super) fn trace(&mut self, traceparent: &str) -> Option<HeaderValue> {
        // Probes and reflection are nobody's request.
        if self.method.path.starts_with("/grpc.") {
            return None;
        }
        self.span = Span::of_call(self.method.path.trim_start_matches('/'), Some(traceparent));
        HeaderValue::from_str(&self.span.traceparent()?).ok()
    }

    /// Counts the end of a call; only the first outcome counts.
    pub(super) fn finish(&mut self, code: Code) {
        if !std::mem::replace(&mut self.finished, true) {
            self.method.handled(code).increment(1);
            self.method.seconds.record(self.started.elapsed());
            let mut span = std::mem::take(&mut self.span);
            // A code is a number from 0 to 16.
            span.set("rpc.grpc.status_code", code as u64);
            if code != Code::Ok {
                span.failed(CODES[code as usize]);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.finish(Code::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_come_from_descriptors_and_others_collapse() {
        let methods = Methods::new(&[tonic_health::pb::FILE_DESCRIPTOR_SET]).expect("valid descriptors");
        assert!(methods.at("/grpc.health.v1.Health/Watch").response_streaming);
        assert!(!methods.at("/grpc.health.v1.Health/Check").streaming);
        let one = methods.at("/grpc.health.v1.Health/Nope");
        assert!(Arc::ptr_eq(&one, &methods.at("/anything/else")));
    }

    #[test]
    fn every_code_has_its_name() {
        assert_eq!(CODES[Code::Unauthenticated as usize], "Unauthenticated");
        assert_eq!(CODES[Code::DeadlineExceeded as usize], "DeadlineExceeded");
        assert_eq!(CODES[Code::Cancelled as usize], "Canceled");
    }
}
