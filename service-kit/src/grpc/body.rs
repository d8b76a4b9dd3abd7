//! The response of a call on its way out.
//!
//! Owns: what happens to the frames: the final status is remapped and counted, a stream is ended at its deadline or at
//! the end of a drain, a panic of a stream becomes INTERNAL.
//! Must not know: the messages inside.
//! What can go wrong: the caller goes away; the body is dropped and the call counts as cancelled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::deadline::Deadline;
use super::methods::Running;
use super::{errors, remap};
use crate::lifecycle::panic_text;

/// What ends a stream before its handler does.
pub(super) type Cutoff = Pin<Box<dyn Future<Output = Status> + Send>>;

/// Ends a response stream at its deadline, if it has one, or when the drain says so.
pub(super) fn cutoff(deadline: Option<Deadline>, end_streams: CancellationToken) -> Cutoff {
    Box::pin(async move {
        let at_deadline = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.0).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = at_deadline => errors::deadline_exceeded(),
            () = end_streams.cancelled() => errors::shutting_down(),
        }
    })
}

/// A response body that is watched.
pub(super) struct WatchedBody {
    inner: Body,
    running: Running,
    cutoff: Option<Cutoff>,
    done: bool,
}

impl WatchedBody {
    /// Watches a body until its end.
    pub(super) fn new(inner: Body, running: Running, cutoff: Option<Cutoff>) -> Self {
        Self { inner, running, cutoff, done: false }
    }

    /// Ends the stream with a status of our own. The handler's stream is dropped at once.
    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.inner = Body::empty();
        self.close(status.code());
        let mut trailers = HeaderMap::new();
        // Our own texts are plain and short; should one not fit, an empty trailer still ends the stream.
        let _ = status.add_header(&mut trailers);
        Frame::trailers(trailers)
    }

    fn close(&mut self, code: Code) {
        self.done = true;
        self.running.finish(code);
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.done {
            return Poll::Ready(None);
        }
        // Before the stream: one that always has a frame would never be asked to end.
        if let Some(Poll::Ready(status)) = this.cutoff.as_mut().map(|cutoff| cutoff.as_mut().poll(context)) {
            return Poll::Ready(Some(Ok(this.end(&status))));
        }
        let inner = Pin::new(&mut this.inner);
        let polled = match catch_unwind(AssertUnwindSafe(|| inner.poll_frame(context))) {
            Ok(polled) => polled,
            Err(panic) => {
                let method = this.running.method();
                tracing::error!(method = method.path, panic = %panic_text(panic.as_ref()), "response stream panicked");
                method.panicked();
                return Poll::Ready(Some(Ok(this.end(&errors::internal()))));
            }
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    let code = remap::remap(&mut trailers).unwrap_or(Code::Unknown);
                    this.close(code);
                    Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                }
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
            Poll::Ready(Some(Err(status))) => {
                this.close(status.code());
                Poll::Ready(Some(Err(status)))
            }
            // The end without trailers: the caller will see it as an unknown error.
            Poll::Ready(None) => {
                this.close(Code::Unknown);
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
