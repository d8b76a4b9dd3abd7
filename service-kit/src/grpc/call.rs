//! What happens around every call.
//!
//! Owns: the order of it: count, read the deadline, refuse a call that is already late, run the handler within its
//! deadline, catch its panic, remap the library's errors, and hand the response on (see `body`).
//! Must not know: the services.
//! What can go wrong: everything that a handler can do wrong ends here as a status.

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

use super::body::{WatchedBody, cutoff};
use super::deadline::{self, Deadline, Malformed};
use super::methods::{Method, Methods, Running};
use super::{errors, remap};
use crate::lifecycle::panic_text;
use crate::trace;

/// The services of a port with everything around them.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    routes: Routes,
    methods: Arc<Methods>,
    default_deadline: Duration,
    end_streams: CancellationToken,
}

impl Calls {
    pub(super) fn new(
        routes: Routes,
        methods: Methods,
        default_deadline: Duration,
        end_streams: CancellationToken,
    ) -> Self {
        Self { routes: routes.prepare(), methods: Arc::new(methods), default_deadline, end_streams }
    }

    /// The same services, with response streams that end when this token says so.
    pub(super) fn ending_streams_at(self, end_streams: CancellationToken) -> Self {
        Self { end_streams, ..self }
    }

    /// When the call must be over; `None` for a stream whose caller gave no timeout.
    fn deadline(&self, method: &Method, timeout: Option<Duration>) -> Option<Deadline> {
        let timeout = match timeout {
            None if method.streaming => return None,
            None => self.default_deadline,
            Some(timeout) => timeout,
        };
        // The timeout is at most a day, see `deadline`.
        Some(Deadline(Instant::now() + timeout))
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut running = Running::start(self.methods.at(request.uri().path()));
        let deadline = match deadline::timeout(request.headers()) {
            Ok(timeout) => self.deadline(running.method(), timeout),
            Err(Malformed) => {
                let status = errors::status(
                    Code::InvalidArgument,
                    errors::MALFORMED_MESSAGE,
                    "grpc-timeout is malformed",
                );
                return Box::pin(std::future::ready(Ok(refuse(running, &status))));
            }
        };
        if deadline.is_some_and(|deadline| deadline.remaining().is_zero()) {
            return Box::pin(std::future::ready(Ok(refuse(running, &errors::deadline_exceeded()))));
        }
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }

        if let Some(value) = running.trace(traceparent(&request)) {
            // What is done for the call belongs to the call's own span.
            request.headers_mut().insert(trace::HEADER, value);
        }
        let span = tracing::debug_span!(
            "grpc.call",
            path = request.uri().path(),
            traceparent = traceparent(&request)
        );
        let handler = self.routes.call(request);
        let end_streams = self.end_streams.clone();
        Box::pin(async move { Ok(handle(handler, running, deadline, end_streams).await) }.instrument(span))
    }
}

async fn handle(
    handler: impl Future<Output = Result<Response<Body>, Infallible>>,
    mut running: Running,
    deadline: Option<Deadline>,
    end_streams: CancellationToken,
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
    response.map(|body| Body::new(WatchedBody::new(body, running, cutoff)))
}

fn refuse(mut running: Running, status: &Status) -> Response<Body> {
    running.finish(status.code());
    status.clone().into_http()
}

/// The caller's trace context, as it came.
fn traceparent(request: &Request<Body>) -> &str {
    request.headers().get(trace::HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
