//! Gives up a response that its client does not take.
//!
//! While a client's flow-control window is full, hyper keeps the frame that it has and does not ask the body for more,
//! so a body cannot watch the time by itself. The task that carries a call on its connection does it instead: the body
//! notes when it handed a frame out, and the task ends when the next one was not asked for in time. hyper then resets
//! the stream, and everything that the call holds is dropped.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, sleep_until};

use crate::metrics::GRPC_CALLS_STALLED;

tokio::task_local! {
    static DELIVERY: Arc<Delivery>;
}

/// Since when a frame of this call's response waits to be taken.
#[derive(Debug, Default)]
pub(super) struct Delivery(Mutex<Option<Instant>>);

impl Delivery {
    /// That of the call to which the present task belongs.
    pub(super) fn current() -> Option<Arc<Self>> {
        DELIVERY.try_with(Arc::clone).ok()
    }

    /// A frame was handed out.
    pub(super) fn handed_out(&self) {
        self.set(Some(Instant::now()));
    }

    /// The next frame is asked for: the one before is on its way.
    pub(super) fn taken(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn waits_since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the calls of a connection, each in a task.
#[derive(Debug, Clone)]
pub(super) struct CallExecutor {
    /// How long a frame may wait.
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
                let Some(since) = delivery.waits_since() else {
                    timer = None;
                    return Poll::Pending;
                };
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(since + timeout)));
                if timer.deadline() != since + timeout {
                    timer.as_mut().reset(since + timeout);
                }
                timer.as_mut().poll(context).map(|()| {
                    metrics::counter!(GRPC_CALLS_STALLED, "direction" => "response").increment(1);
                })
            })
            .await;
        });
    }
}
