//! The one writer of the read model.
//!
//! A session opens the read model, follows the feed and sweeps. Any failure ends it, and the next session starts from
//! the checkpoint: recovery is the same as a start. Two projectors on one Neo4j do not fight: the one that started last
//! writes; the other notices at its next change and exits.
//!
//! Reading order: [`session`] (the loop), [`open`] (before the first event), [`projection`] (from event to read model),
//! [`sweeper`], [`step`] and [`counts`] (steps of the sweep between two batches).

mod batch_limit;
mod counts;
mod failure;
mod lag;
mod open;
mod projection;
mod session;
mod shared;
mod step;
mod sweeper;

use std::time::Duration;

use service_kit::backoff::Backoff;
use service_kit::clock::SharedClock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::batch_limit::BatchLimit;
use self::failure::{Failure, Fatal, is_gone};
use self::lag::TruthLag;
use self::open::{Opening, open};
use self::session::Session;
pub use self::shared::Latches;
use self::shared::Shared;
use crate::feed::Sources;
use crate::graph::Replica;
use crate::metrics::{COUNTS_COMPARED_AT, RETRIES};
use crate::status::Status;

/// Back-off between two sessions.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A session that lasts this long resets the back-off.
const SOUND_SESSION: Duration = Duration::from_secs(5);

/// Opens one session after the other.
pub struct Engine {
    shared: Shared,
}

impl Engine {
    /// Writes to this read model from these sources.
    pub fn new(
        replica: Replica,
        sources: Sources,
        latches: Latches,
        clock: SharedClock,
        sweep_edges_per_second: u32,
    ) -> Self {
        let (lag, batch_limit) = (TruthLag::default(), BatchLimit::default());
        let shared = Shared { replica, sources, latches, clock, sweep_edges_per_second, lag, batch_limit };
        Self { shared }
    }

    /// Projects until `stop`, or until a failure that another session cannot repair.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Fatal> {
        // "Not compared since" begins with the process.
        metrics::gauge!(COUNTS_COMPARED_AT).set(self.shared.now().unix_timestamp() as f64);
        let mut backoff = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        let mut opening = Opening::TakeOver;
        let mut logged = None;
        loop {
            let outcome = tokio::select! {
                // Exchanges of an abandoned opening run to their ends in tasks of their own.
                () = stop.cancelled() => return Ok(()),
                opened = open(&self.shared, opening) => opened,
            };
            let failure = match outcome {
                Err(failure) => failure,
                Ok(opened) => {
                    opening = Opening::Continue;
                    let began = Instant::now();
                    let outcome = Session::new(&self.shared, opened).run(&stop).await;
                    if began.elapsed() >= SOUND_SESSION {
                        backoff.reset();
                        logged = None;
                    }
                    match outcome {
                        Ok(()) => return Ok(()),
                        Err(failure) => failure,
                    }
                }
            };
            let (cause, reason) = match failure {
                Failure::Fatal(fatal) => {
                    self.not_ready(&fatal.to_string());
                    return Err(fatal);
                }
                Failure::Reset { cause, reason } => {
                    // A process that has not become the writer must do that first; opening finds the cause again.
                    if opening == Opening::Continue {
                        opening = Opening::Reset(cause);
                    }
                    (cause, reason)
                }
                Failure::Retry { cause, reason } => (cause, reason),
            };
            metrics::counter!(RETRIES, "cause" => cause).increment(1);
            // A reason that repeats is logged once.
            if logged.as_ref() == Some(&reason) {
                tracing::debug!(cause, reason, "cannot open the read model");
            } else {
                tracing::warn!(cause, reason, "the session with the read model ended, opening another");
            }
            logged = Some(reason.clone());
            self.not_ready(&reason);
            if is_gone(cause) {
                // The next session may have to wait: for PostgreSQL, or until an operator removes the foreign data.
                self.shared.sources.board.change(Status::forget_model);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }

    fn not_ready(&self, reason: &str) {
        let Shared { latches, sources, .. } = &self.shared;
        latches.model.not_ready(reason);
        latches.complete.not_ready("the read model does not follow");
        sources.board.change(|status| reason.clone_into(&mut status.model_problem));
    }
}
