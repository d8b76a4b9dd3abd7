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
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;
use tracing::Instrument;

use super::body::{Outlet, WatchedBody, cutoff};
use super::connections::{Admitted, Connections, OpenCall};
use super::deadline::{self, Deadline, LONGEST_UNARY};
use super::limits::{Limits, RequestCharge};
use super::methods::{BoundRule, Method, Methods, Running};
use super::remap;
use super::rules::MethodRule;
use super::upload::Upload;
use crate::auth::Caller;
use crate::errors;
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
        let timeout = if method.is_unary() {
            timeout.unwrap_or(self.shared.default_deadline).min(LONGEST_UNARY)
        } else {
            // At most a day, see `deadline`.
            timeout?
        };
        Some(Deadline(Instant::now() + timeout))
    }

    /// Admits or refuses a call, before its body is read.
    fn admit(
        &self,
        request: Request<Body>,
        running: &mut Running,
    ) -> Result<(Request<Body>, Option<Deadline>), Status> {
        let method = Arc::clone(running.method());
        let (mut head, body) = request.into_parts();
        // A call counts as one without a token until its token is verified.
        running.of(self.shared.limits.tokenless.clone());
        let caller = match &method.rule {
            Some(BoundRule { row: MethodRule { scope: Some(scope), .. }, gate }) => {
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
        let timeout = deadline::timeout(&head.headers)?;
        running.given(timeout);
        let deadline = self.deadline(&method, timeout);
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
        Ok((Request::from_parts(head, body), deadline))
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
        let place = match (&caller, rule.row.limited) {
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
        Ok(Body::new(Upload::new(body, charge, rule.row.max_message, method.request_streaming, timeout)))
    }
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
        let (mut request, deadline) = match self.admit(request, &mut running) {
            Ok(admitted) => admitted,
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
    let outcome = match deadline::within(deadline, handler).await {
        Ok(outcome) => outcome,
        Err(late) => return refuse(running, &late),
    };
    let mut response = match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            let status = running.panicked("handler", panic.as_ref());
            return refuse(running, &status);
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
