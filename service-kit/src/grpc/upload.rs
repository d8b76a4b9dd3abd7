//! The body of a request.
//!
//! Charges large messages to the limit of request bytes as soon as their length is known, and ends a request whose
//! client stops sending. A client that streams may pause between two messages, but not within one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use super::limits::RequestCharge;
use crate::errors;
use crate::metrics::GRPC_CALLS_STALLED;

/// Bytes before each message: a flag for compression, and the length.
const HEADER: usize = 5;

/// A request body under supervision.
pub(super) struct Upload {
    inner: Body,
    charge: Arc<RequestCharge>,
    /// Largest message of the method.
    max_message: usize,
    /// True if the client streams messages.
    streaming: bool,
    place: Place,
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Position of the next byte in the sequence of messages.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Header { bytes: [u8; HEADER], have: usize },
    Message { left: usize },
}

impl Place {
    const START: Self = Self::Header { bytes: [0; HEADER], have: 0 };
}

impl Upload {
    pub(super) fn new(
        inner: Body,
        charge: Arc<RequestCharge>,
        max_message: usize,
        streaming: bool,
        timeout: Duration,
    ) -> Self {
        Self { inner, charge, max_message, streaming, place: Place::START, timeout, timer: None }
    }

    /// Parses the received bytes into messages.
    fn follow(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            match &mut self.place {
                Place::Header { bytes, have } => {
                    let taken = data.len().min(HEADER - *have);
                    bytes[*have..*have + taken].copy_from_slice(&data[..taken]);
                    *have += taken;
                    data = &data[taken..];
                    if *have == HEADER {
                        let (compressed, length) = (bytes[0] != 0, &bytes[1..]);
                        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                        self.begin_message(compressed, length)?;
                    }
                }
                Place::Message { left } => {
                    let taken = data.len().min(*left);
                    *left -= taken;
                    data = &data[taken..];
                    if *left == 0 {
                        self.place = Place::START;
                    }
                }
            }
        }
        Ok(())
    }

    fn begin_message(&mut self, compressed: bool, length: usize) -> Result<(), Status> {
        self.place = if length == 0 { Place::START } else { Place::Message { left: length } };
        // The decoder refuses a larger one without reading it.
        if length > self.max_message {
            return Ok(());
        }
        // It may decompress to the limit.
        let bytes = if compressed { self.max_message } else { length };
        if self.charge.begin_message(bytes) { Ok(()) } else { Err(errors::too_many_calls()) }
    }

    /// True if the client must send more bytes.
    fn is_owed(&self) -> bool {
        !self.streaming || self.place != Place::START
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        this.charge.set_owed(match &polled {
            Poll::Ready(Some(Ok(_)) | None) => false,
            Poll::Ready(Some(Err(_))) => true,
            Poll::Pending => this.is_owed(),
        });
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.timer = None;
                let followed = frame.data_ref().map_or(Ok(()), |data| this.follow(data));
                Poll::Ready(Some(followed.map(|()| frame)))
            }
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending if !this.is_owed() => Poll::Pending,
            Poll::Pending => {
                let timeout = this.timeout;
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
                timer.as_mut().poll(context).map(|()| {
                    metrics::counter!(GRPC_CALLS_STALLED, "direction" => "request").increment(1);
                    Some(Err(errors::request_stalled()))
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
