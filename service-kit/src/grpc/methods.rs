//! The methods that a server has: their rules and their metrics, by path.
//!
//! Services and methods come from the descriptors, everything else is `unknown`, so labels are closed sets. Handles of
//! metrics are created once, so a call costs no lookup by label.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use metrics::{Counter, Histogram, Label, counter, histogram};
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::limits::{CallPlace, RequestCharge};
use super::rules::{Gate, MethodRule, Rules};
use crate::auth::Caller;
use crate::codes::{CounterByCode, code_name};
use crate::errors;
use crate::lifecycle::panic_text;
use crate::metrics::{GRPC_HANDLED, GRPC_PANICS, GRPC_SECONDS, GRPC_STARTED};
use crate::trace::{Parent, Span};

/// A method, or the entry for all unknown ones.
#[derive(Debug)]
pub(super) struct Method {
    /// Path of the HTTP request.
    pub(super) path: String,
    /// True if the request is a stream.
    pub(super) request_streaming: bool,
    /// True if the response is a stream.
    pub(super) response_streaming: bool,
    /// Its rule; `None` for a method that is described, but not served here.
    pub(super) rule: Option<BoundRule>,
    started: Counter,
    seconds: Histogram,
    panics: Counter,
    handled: CounterByCode,
}

/// If a call with a shorter timeout misses it, the server is not slow: the services promise no such latency.
const SHORT: Duration = Duration::from_millis(100);

/// A rule, and the gate that verifies tokens.
#[derive(Debug)]
pub(super) struct BoundRule {
    /// The rule, with the message limit of this process.
    pub(super) row: MethodRule,
    pub(super) gate: Arc<dyn Gate>,
}

impl Method {
    fn new(
        service: &str,
        method: &str,
        (client_streams, server_streams): (bool, bool),
        rule: Option<BoundRule>,
    ) -> Self {
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
            request_streaming: client_streams,
            response_streaming: server_streams,
            rule,
            started: counter!(GRPC_STARTED, labels.clone()),
            seconds: histogram!(GRPC_SECONDS, labels.clone()),
            panics: counter!(GRPC_PANICS, labels.clone()),
            handled: CounterByCode::new(GRPC_HANDLED, labels),
        }
    }

    /// True if neither request nor response is a stream.
    pub(super) fn is_unary(&self) -> bool {
        !self.request_streaming && !self.response_streaming
    }
}

/// The rules of the services of a server, by the name of the service.
pub(super) type RulesByService = HashMap<&'static str, Rules>;

/// All methods of a server by path.
#[derive(Debug)]
pub(super) struct Methods {
    by_path: HashMap<String, Arc<Method>>,
    unknown: Arc<Method>,
}

impl Methods {
    /// Reads the methods from encoded descriptor sets. No message limit is above `max_message`.
    pub(super) fn new(
        descriptor_sets: &[&[u8]],
        rules: &RulesByService,
        max_message: usize,
    ) -> Result<Self, prost::DecodeError> {
        let mut by_path = HashMap::new();
        for set in descriptor_sets {
            for file in FileDescriptorSet::decode(*set)?.file {
                for service in &file.service {
                    let name = format!("{}.{}", file.package(), service.name());
                    let rules = rules.get(name.as_str());
                    for method in &service.method {
                        let row = rules.and_then(|rules| {
                            let row = rules.rows.iter().find(|row| row.method == method.name())?;
                            let row = MethodRule { max_message: row.max_message.min(max_message), ..*row };
                            Some(BoundRule { row, gate: Arc::clone(&rules.gate) })
                        });
                        let streams = (method.client_streaming(), method.server_streaming());
                        let method = Method::new(&name, method.name(), streams, row);
                        by_path.insert(method.path.clone(), Arc::new(method));
                    }
                }
            }
        }
        Ok(Self { by_path, unknown: Arc::new(Method::new("unknown", "unknown", (false, false), None)) })
    }

    /// The method at a path.
    pub(super) fn at(&self, path: &str) -> Arc<Method> {
        self.by_path.get(path).unwrap_or(&self.unknown).clone()
    }
}

/// A call under way. If dropped without an outcome, it counts as cancelled by the caller.
#[derive(Debug)]
pub(super) struct Running {
    method: Arc<Method>,
    started: Instant,
    finished: bool,
    span: Span,
    caller: Option<Caller>,
    /// True if the caller gave the call less than [`SHORT`].
    short: bool,
    /// Released when the last byte of the response has left, or the call is abandoned.
    held: Option<(CallPlace, Arc<RequestCharge>)>,
}

impl Running {
    /// Counts the start of a call.
    pub(super) fn start(method: Arc<Method>) -> Self {
        method.started.increment(1);
        Self {
            method,
            started: Instant::now(),
            finished: false,
            span: Span::default(),
            caller: None,
            short: false,
            held: None,
        }
    }

    /// The method that is called.
    pub(super) fn method(&self) -> &Arc<Method> {
        &self.method
    }

    /// Names the caller, for the counter of calls.
    pub(super) fn of(&mut self, caller: Caller) {
        self.caller = Some(caller);
    }

    /// Notes the caller's timeout, if it sent one.
    pub(super) fn given(&mut self, timeout: Option<Duration>) {
        self.short = timeout.is_some_and(|timeout| timeout < SHORT);
    }

    /// Keeps the call's share of the limits until its end.
    pub(super) fn hold(&mut self, place: CallPlace, charge: Arc<RequestCharge>) {
        self.held = Some((place, charge));
    }

    /// Begins the call's span, in its caller's trace if there is one; returns the header for work below it.
    pub(super) fn trace(&mut self, traceparent: &str) -> Option<HeaderValue> {
        // Health checks and reflection are not traced.
        if self.method.path.starts_with("/grpc.") {
            return None;
        }
        self.span = Span::of_call(self.method.path.trim_start_matches('/'), Some(traceparent));
        HeaderValue::from_str(&self.span.traceparent()?).ok()
    }

    /// The parent of spans below the call's own.
    pub(super) fn span(&self) -> Parent {
        self.span.as_parent()
    }

    /// Logs and counts a panic of a part of the call; returns the status for the caller.
    pub(super) fn panicked(&self, part: &str, panic: &(dyn Any + Send)) -> Status {
        tracing::error!(method = self.method.path, panic = %panic_text(panic), "{part} panicked");
        self.method.panics.increment(1);
        errors::internal()
    }

    /// Counts the end of a call; only the first outcome counts.
    pub(super) fn finish(&mut self, code: Code) {
        if !std::mem::replace(&mut self.finished, true) {
            let counted = self.counted_as(code);
            self.method.handled.count(counted);
            self.method.seconds.record(self.started.elapsed());
            if let Some(caller) = &self.caller {
                caller.handled(counted);
            }
            let mut span = std::mem::take(&mut self.span);
            // A code is a number from 0 to 16.
            span.set("rpc.grpc.status_code", code as u64);
            if code != Code::Ok {
                span.failed(code_name(code));
            }
        }
    }

    /// The code under which metrics count the call. A client that does not send its request, or does not wait, must not
    /// look like a failing server, or it could raise the alerts on failed calls. Its call counts as cancelled; the
    /// client gets the real code.
    fn counted_as(&self, code: Code) -> Code {
        let owed = self.held.as_ref().is_some_and(|(_, request)| request.is_owed());
        match code {
            Code::DeadlineExceeded if owed || self.short => Code::Cancelled,
            // The request broke off; the code depends on how the client reset the stream.
            Code::Unknown | Code::Internal | Code::Unavailable if owed && !self.method.request_streaming => {
                Code::Cancelled
            }
            _ => code,
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
    use super::super::limits::{Limits, Sizes};
    use super::*;

    #[test]
    fn methods_come_from_descriptors_and_others_collapse() {
        static ROWS: [MethodRule; 1] = [MethodRule::open("Check", 9)];
        let rules = HashMap::from([("grpc.health.v1.Health", Rules::open(&ROWS))]);
        let methods = Methods::new(&[tonic_health::pb::FILE_DESCRIPTOR_SET], &rules, 7);
        let methods = methods.expect("valid descriptors");
        let watch = methods.at("/grpc.health.v1.Health/Watch");
        assert!(watch.response_streaming && !watch.is_unary() && watch.rule.is_none());
        let check = methods.at("/grpc.health.v1.Health/Check");
        assert!(check.is_unary());
        assert_eq!(check.rule.as_ref().expect("a row").row.max_message, 7);
        let one = methods.at("/grpc.health.v1.Health/Nope");
        assert!(Arc::ptr_eq(&one, &methods.at("/anything/else")));
    }

    #[test]
    fn failures_that_the_client_caused_count_as_cancelled() {
        let method = Arc::new(Method::new("test.Probe", "Unary", (false, false), None));
        let mut running = Running::start(method);
        running.given(Some(SHORT));
        assert_eq!(running.counted_as(Code::DeadlineExceeded), Code::DeadlineExceeded);
        running.given(Some(SHORT / 2));
        assert_eq!(running.counted_as(Code::DeadlineExceeded), Code::Cancelled);
        assert_eq!(running.counted_as(Code::Unavailable), Code::Unavailable);
        running.given(None);
        let limits = Limits::new(&Sizes { calls: 4, request_bytes: 1_000, unsent: 1_000 });
        let place = limits.call(&limits.tokenless).expect("a place");
        let charge = RequestCharge::new(Arc::clone(&limits), limits.tokenless.clone(), false);
        running.hold(place, Arc::clone(&charge));
        assert_eq!(running.counted_as(Code::DeadlineExceeded), Code::DeadlineExceeded);
        charge.set_owed(true);
        for code in [Code::DeadlineExceeded, Code::Internal, Code::Unavailable, Code::Unknown] {
            assert_eq!(running.counted_as(code), Code::Cancelled);
        }
        for code in [Code::Ok, Code::ResourceExhausted, Code::InvalidArgument] {
            assert_eq!(running.counted_as(code), code);
        }
        charge.set_owed(false);
        assert_eq!(running.counted_as(Code::Internal), Code::Internal);
    }
}
