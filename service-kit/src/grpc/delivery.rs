//! Abandons a response that its client does not take.
//!
//! While a client's flow-control window is full, hyper keeps the current frame and does not poll the body, so a body
//! cannot watch the time. The task of the call does it instead: the body notes when it handed out a frame, and the task
//! ends if the next one is not requested in time. A whole message must leave within twice that time: otherwise a client
//! that takes frame by frame just in time would hold the message and its place without a limit. hyper then resets the
//! stream, and everything that the call holds is dropped.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::metrics::GRPC_CALLS_STALLED;

tokio::task_local! {
    static DELIVERY: Arc<Delivery>;
}

/// Start of the wait of a call's current frame, and of its message.
#[derive(Debug, Default)]
pub(super) struct Delivery(Mutex<Waits>);

#[derive(Debug, Default, Clone, Copy)]
struct Waits {
    frame: Option<Instant>,
    message: Option<Instant>,
}

impl Delivery {
    /// The delivery of the call that the current task serves.
    pub(super) fn current() -> Option<Arc<Self>> {
        DELIVERY.try_with(Arc::clone).ok()
    }

    /// Notes that a frame was handed out.
    pub(super) fn handed_out(&self) {
        let now = Instant::now();
        let mut waits = self.0.lock();
        waits.frame = Some(now);
        waits.message.get_or_insert(now);
    }

    /// Notes that the next frame was requested, so the previous one is on its way.
    pub(super) fn taken(&self, last_of_message: bool) {
        let mut waits = self.0.lock();
        waits.frame = None;
        if last_of_message {
            waits.message = None;
        }
    }

    /// Time at which the response is abandoned; `None` while no frame waits.
    fn given_up_at(&self, timeout: Duration) -> Option<Instant> {
        let Waits { frame, message } = *self.0.lock();
        let frame = frame? + timeout;
        Some(message.map_or(frame, |since| frame.min(since + timeout * 2)))
    }
}

/// Runs the calls of a connection, each in a task.
#[derive(Debug, Clone)]
pub(super) struct CallExecutor {
    /// Timeout of a frame.
    pub(super) timeout: Duration,
}

impl<F> Executor<F> for CallExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, call: F) {
        let timeout = self.timeout;
        let delivery = Arc::new(Delivery::default());
        tokio::spawn(async move {
            let mut call = pin!(DELIVERY.scope(Arc::clone(&delivery), call));
            let mut timer = None;
            poll_fn(|context| {
                if call.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                let Some(end) = delivery.given_up_at(timeout) else {
                    timer = None;
                    return Poll::Pending;
                };
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
                if timer.deadline() != end {
                    timer.as_mut().reset(end);
                }
                timer.as_mut().poll(context).map(|()| {
                    metrics::counter!(GRPC_CALLS_STALLED, "direction" => "response").increment(1);
                })
            })
            .await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn frame_and_message_each_have_their_time() {
        let delivery = Delivery::default();
        assert_eq!(delivery.given_up_at(TIMEOUT), None);
        let began = Instant::now();
        for (frame, end) in [(0, 30), (25, 55), (50, 60)] {
            tokio::time::advance(began + Duration::from_secs(frame) - Instant::now()).await;
            delivery.taken(false);
            assert_eq!(delivery.given_up_at(TIMEOUT), None, "nothing waits");
            delivery.handed_out();
            assert_eq!(delivery.given_up_at(TIMEOUT), Some(began + Duration::from_secs(end)));
        }
        delivery.taken(true);
        let next = Instant::now();
        delivery.handed_out();
        assert_eq!(delivery.given_up_at(TIMEOUT), Some(next + TIMEOUT), "another message");
    }
}
