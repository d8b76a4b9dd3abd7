//! Processes every call, in this order: count it, authorize it by its headers, read its deadline, take its share of the
//! limits, run the handler within the deadline, catch its panic, remap the library's errors, and supervise the response
//! (see `body`). The body of the request is not read before the limits admit the call.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use http::{Request, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;
use tracing::Instrument;

use super::body::{Outlet, WatchedBody, cutoff};
use super::connections::{Admitted, Connections, OpenCall};
use super::deadline::{self, Deadline, LONGEST_UNARY, Malformed};
use super::limits::{Limits, RequestCharge};
use super::methods::{BoundRule, DeadlineClass, Method, Methods, Running};
use super::remap;
use super::upload::Upload;
use crate::auth::Caller;
use crate::errors;
use crate::lifecycle::panic_text;
use crate::trace;

/// Shared by all calls of a port.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) methods: Methods,
    pub(super) default_deadline: Duration,
    /// Timeout between two reads of a request.
    pub(super) read_timeout: Duration,
    pub(super) limits: Arc<Limits>,
    pub(super) connections: Arc<Connections>,
}

/// The services of a port, for one connection.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    routes: Routes,
    shared: Arc<Shared>,
    outlet: Outlet,
    end_streams: CancellationToken,
}

impl Calls {
    /// The calls of one connection; `end_streams` ends its response streams.
    pub(super) fn new(
        routes: Routes,
        shared: Arc<Shared>,
        admitted: &Admitted,
        end_streams: CancellationToken,
    ) -> Self {
        let outlet = Outlet {
            limits: Arc::clone(&shared.limits),
            connections: Arc::clone(&shared.connections),
            connection: Arc::clone(&admitted.connection),
        };
        Self { routes, shared, outlet, end_streams }
    }

    /// The deadline of a call; `None` for a stream without a timeout.
    fn deadline(&self, method: &Method, timeout: Option<Duration>) -> Option<Deadline> {
        let timeout = match (method.deadline, timeout) {
            (DeadlineClass::Stream, None) => return None,
            // A timeout is at most a day, see `deadline`.
            (DeadlineClass::Stream, Some(timeout)) => timeout,
            (DeadlineClass::Unary, timeout) => {
                timeout.unwrap_or(self.shared.default_deadline).min(LONGEST_UNARY)
            }
        };
        Some(Deadline(Instant::now() + timeout))
    }

    /// Admits or refuses a call, before its body is read.
    fn admit(&self, request: Request<Body>, running: &mut Running) -> Result<Admission, Status> {
        let method = Arc::clone(running.method());
        let (mut head, body) = request.into_parts();
        // A call counts as one without a token until its token is verified.
        running.of(self.shared.limits.tokenless.clone());
        let caller = match &method.rule {
            Some(BoundRule { scope: Some(scope), gate, .. }) => {
                let caller = gate.admit(&head.headers, *scope)?;
                self.outlet.connection.served(caller.as_ref());
                caller
            }
            _ => None,
        };
        if let Some(caller) = &caller {
            running.of(caller.clone());
            head.extensions.insert(caller.clone());
        }
        let deadline = match deadline::timeout(&head.headers) {
            Ok(timeout) => {
                running.given(timeout);
                self.deadline(&method, timeout)
            }
            Err(Malformed) => {
                let text = "grpc-timeout is malformed";
                return Err(errors::status(Code::InvalidArgument, errors::MALFORMED_MESSAGE, text));
            }
        };
        if let Some(deadline) = deadline {
            if deadline.remaining().is_zero() {
                return Err(errors::deadline_exceeded());
            }
            head.extensions.insert(deadline);
        }
        let body = match &method.rule {
            Some(rule) => self.place(rule, &method, caller, running, body)?,
            // The routes answer without reading it.
            None => body,
        };
        Ok(Admission { request: Request::from_parts(head, body), deadline })
    }

    /// Takes the call's share of the limits.
    fn place(
        &self,
        rule: &BoundRule,
        method: &Method,
        caller: Option<Caller>,
        running: &mut Running,
        body: Body,
    ) -> Result<Body, Status> {
        let limits = &self.shared.limits;
        let connection = &self.outlet.connection;
        let place = match (&caller, rule.limited) {
            (Some(caller), false) => limits.exempt(caller),
            (None, false) => limits.probe(connection),
            (Some(caller), true) if method.request_streaming => limits.request_stream(caller),
            (Some(caller), true) => limits.call(caller),
            (None, true) if method.request_streaming => limits.open_stream(connection),
            (None, true) => limits.call(&limits.tokenless),
        };
        let place = place.ok_or_else(errors::too_many_calls)?;
        let caller = caller.unwrap_or_else(|| limits.tokenless.clone());
        let charge = RequestCharge::new(Arc::clone(limits), caller, method.request_streaming);
        running.hold(place, Arc::clone(&charge));
        let timeout = self.shared.read_timeout;
        Ok(Body::new(Upload::new(body, charge, rule.max_message, method.request_streaming, timeout)))
    }
}

/// An admitted call.
struct Admission {
    request: Request<Body>,
    deadline: Option<Deadline>,
}

impl Service<Request<Body>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The routes are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let open = self.outlet.connection.call();
        let mut running = Running::start(self.shared.methods.at(request.uri().path()));
        let Admission { mut request, deadline } = match self.admit(request, &mut running) {
            Ok(admission) => admission,
            Err(status) => return Box::pin(std::future::ready(Ok(refuse(running, &status)))),
        };

        if let Some(value) = running.trace(traceparent(&request)) {
            // Work for the call belongs to the call's own span.
            request.headers_mut().insert(trace::HEADER, value);
        }
        let parent = running.span();
        if !parent.is_empty() {
            request.extensions_mut().insert(parent);
        }
        let span = tracing::debug_span!(
            "grpc.call",
            path = request.uri().path(),
            traceparent = traceparent(&request)
        );
        let handler = self.routes.call(request);
        let (outlet, end_streams) = (self.outlet.clone(), self.end_streams.clone());
        let handled = handle(handler, running, deadline, end_streams, outlet, open);
        Box::pin(async move { Ok(handled.await) }.instrument(span))
    }
}

async fn handle(
    handler: impl Future<Output = Result<Response<Body>, Infallible>>,
    mut running: Running,
    deadline: Option<Deadline>,
    end_streams: CancellationToken,
    outlet: Outlet,
    open: OpenCall,
) -> Response<Body> {
    let handler = AssertUnwindSafe(handler).catch_unwind();
    let outcome = match deadline {
        None => handler.await,
        Some(deadline) => match tokio::time::timeout_at(deadline.0, handler).await {
            Ok(outcome) => outcome,
            Err(_late) => return refuse(running, &errors::deadline_exceeded()),
        },
    };
    let mut response = match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            tracing::error!(method = running.method().path, panic = %panic_text(panic.as_ref()), "handler panicked");
            running.method().panicked();
            return refuse(running, &errors::internal());
        }
    };
    // An error before the first message travels in the headers, and there is no body.
    if let Some(code) = remap::remap(response.headers_mut()) {
        running.finish(code);
        return response;
    }
    let cutoff = running.method().response_streaming.then(|| cutoff(deadline, end_streams));
    response.map(|body| Body::new(WatchedBody::new(body, running, cutoff, outlet, open)))
}

fn refuse(mut running: Running, status: &Status) -> Response<Body> {
    running.finish(status.code());
    status.clone().into_http()
}

/// The `traceparent` of a request; empty if there is none.
fn traceparent(request: &Request<Body>) -> &str {
    request.headers().get(trace::HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
