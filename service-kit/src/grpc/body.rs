//! The body of a response.
//!
//! Remaps and counts the final status, ends a stream at its deadline or at the end of a drain, and turns a panic of a
//! stream into INTERNAL. Sends messages in slices; each is charged to the limit of unsent bytes until its client has
//! taken it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::connections::{Connection, Connections, OpenCall};
use super::deadline::{self, Deadline};
use super::delivery::Delivery;
use super::limits::{Limits, Unsent};
use super::methods::Running;
use super::remap;
use crate::errors;

/// Size of a slice in bytes, the default of an HTTP/2 frame. A client that takes less within the write timeout has
/// stalled, see `delivery`.
const SLICE: usize = 16 << 10;

/// Ends a stream before its handler does, with a status.
pub(super) type Cutoff = Pin<Box<dyn Future<Output = Status> + Send>>;

/// Ends a response stream at its deadline, if it has one, or in a drain.
pub(super) fn cutoff(deadline: Option<Deadline>, end_streams: CancellationToken) -> Cutoff {
    Box::pin(async move {
        let ended = deadline::within(deadline, end_streams.cancelled()).await;
        ended.err().unwrap_or_else(errors::shutting_down)
    })
}

/// The connection of a response, and the limits of unsent bytes.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    pub(super) limits: Arc<Limits>,
    pub(super) connections: Arc<Connections>,
    pub(super) connection: Arc<Connection>,
}

/// A slice of a message. The whole message stays in memory, and charged, until its last slice has been taken.
struct Charged {
    bytes: Bytes,
    charge: Arc<Unsent>,
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.charge.progressed();
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A response body under supervision.
pub(super) struct WatchedBody {
    inner: Body,
    running: Running,
    cutoff: Option<Cutoff>,
    outlet: Outlet,
    delivery: Option<Arc<Delivery>>,
    /// The unsent rest of a message.
    rest: Option<(Bytes, Arc<Unsent>)>,
    done: bool,
    _open: OpenCall,
}

impl WatchedBody {
    /// Supervises a body until its end.
    pub(super) fn new(
        inner: Body,
        running: Running,
        cutoff: Option<Cutoff>,
        outlet: Outlet,
        open: OpenCall,
    ) -> Self {
        let delivery = Delivery::current();
        Self { inner, running, cutoff, outlet, delivery, rest: None, done: false, _open: open }
    }

    /// The next slice of the current message.
    fn slice(&mut self) -> Option<Frame<Bytes>> {
        let (mut bytes, charge) = self.rest.take()?;
        let slice = bytes.split_to(bytes.len().min(SLICE));
        if !bytes.is_empty() {
            self.rest = Some((bytes, Arc::clone(&charge)));
        }
        if let Some(delivery) = &self.delivery {
            delivery.handed_out();
        }
        Some(Frame::data(Bytes::from_owner(Charged { bytes: slice, charge })))
    }

    /// The first slice of a message from the handler, or the end of the stream if the limit is reached.
    fn message(&mut self, bytes: Bytes) -> Frame<Bytes> {
        if bytes.is_empty() {
            return Frame::data(bytes);
        }
        let Outlet { limits, connections, connection } = &self.outlet;
        match limits.unsent(connection, bytes.len(), connections.count()) {
            Some(charge) => self.rest = Some((bytes, Arc::new(charge))),
            None => return self.end(&errors::responses_not_taken()),
        }
        self.slice().unwrap_or_else(|| Frame::data(Bytes::new()))
    }

    /// Ends the stream with a status of this layer, and drops the handler's stream.
    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.inner = Body::empty();
        self.rest = None;
        self.close(status.code());
        let mut trailers = HeaderMap::new();
        // The texts of this layer fit into a header; without one, an empty trailer still ends the stream.
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
        if let Some(delivery) = &this.delivery {
            delivery.taken(this.rest.is_none());
        }
        if this.done {
            return Poll::Ready(None);
        }
        // Before the stream, because one that always has a frame would never end.
        if let Some(Poll::Ready(status)) = this.cutoff.as_mut().map(|cutoff| cutoff.as_mut().poll(context)) {
            return Poll::Ready(Some(Ok(this.end(&status))));
        }
        if let Some(slice) = this.slice() {
            return Poll::Ready(Some(Ok(slice)));
        }
        let inner = Pin::new(&mut this.inner);
        let polled = match catch_unwind(AssertUnwindSafe(|| inner.poll_frame(context))) {
            Ok(polled) => polled,
            Err(panic) => {
                let status = this.running.panicked("response stream", panic.as_ref());
                return Poll::Ready(Some(Ok(this.end(&status))));
            }
        };
        match ready!(polled) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(match frame.into_trailers() {
                Ok(mut trailers) => {
                    this.close(remap::remap(&mut trailers).unwrap_or(Code::Unknown));
                    Frame::trailers(trailers)
                }
                Err(frame) => frame.into_data().map_or_else(|frame| frame, |bytes| this.message(bytes)),
            }))),
            Some(Err(status)) => {
                this.close(status.code());
                Poll::Ready(Some(Err(status)))
            }
            // A stream without trailers is an unknown error to the caller.
            None => {
                this.close(Code::Unknown);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}
