//! The feed's loop: the stream while it works, the outbox while it does not.
//!
//! Owns: when to read which. Must not know: how each is read.
//! What can go wrong: both fail; then this waits, says so, and tries again without end.

use std::time::Duration;

use tokio::time::Instant;

use super::outbox::{self, catch_up};
use super::stream::{self, Seen};
use super::{Outlet, Sources, Stop};
use crate::mark::Mark;
use crate::metrics::REBUILDS;
use service_kit::backoff::Backoff;

/// How often the outbox is looked at while the stream does not work.
const POLL: Duration = Duration::from_millis(100);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Feeds until it must stop or its reader is gone.
pub async fn run(mark: Mark, sources: Sources, outlet: Outlet) {
    // Where events come from, and whether they come at all just now, is no matter of readiness: what is there is
    // complete as of its revision, and the status and the metrics tell how old that is.
    sources.latch.ready();
    if let Some(stop) = feed(mark, &sources, &outlet).await {
        sources.latch.not_ready(&stop.to_string());
        // The reader may be gone as well.
        let _ = outlet.sender.send(Err(stop));
    }
}

/// `None` if the reader is gone.
async fn feed(mut last: Mark, sources: &Sources, outlet: &Outlet) -> Option<Stop> {
    let mut seen = Seen::default();
    let mut stream_pause = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
    let mut outbox_pause = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
    let mut next_attempt = Instant::now();
    let mut connected = sources.nats.connected.clone();
    let mut told = "";
    loop {
        let mut reason = None;
        if Instant::now() >= next_attempt {
            let mut sent = 0;
            match stream::read(sources, &mut last, outlet, &mut seen, &mut sent).await {
                stream::Ended::Stop(stop) => return Some(stop),
                stream::Ended::Closed => return None,
                stream::Ended::Because { cause, reason: why } => {
                    metrics::counter!(REBUILDS, "cause" => cause).increment(1);
                    // The same cause over and over is told once.
                    if told != cause {
                        tracing::info!(
                            cause,
                            reason = why,
                            revision = last.revision.0,
                            "events come from the outbox"
                        );
                        told = cause;
                    }
                    reason = Some(why);
                }
            }
            if sent > 0 {
                stream_pause.reset();
                told = "";
            }
            next_attempt = Instant::now() + stream_pause.pause();
        }
        if let Some(reason) = reason {
            trouble(sources, &format!("events come from the outbox: {reason}"));
        }
        let pause = match catch_up(&sources.truth, &mut last, outlet).await {
            Ok(_) => {
                outbox_pause.reset();
                sources.latch.ready();
                POLL
            }
            Err(outbox::Ended::Stop(stop)) => return Some(stop),
            Err(outbox::Ended::Closed) => return None,
            Err(outbox::Ended::Failed(error)) => {
                trouble(sources, &format!("neither the stream nor the outbox can be read: {error}"));
                outbox_pause.pause()
            }
            Err(outbox::Ended::Ahead(head)) => {
                let problem = format!(
                    "revision {} was applied, but PostgreSQL is at {}: it has lost commits",
                    last.revision, head.revision
                );
                sources.latch.not_ready(&problem);
                trouble(sources, &problem);
                outbox_pause.pause()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause.min(next_attempt.saturating_duration_since(Instant::now()))) => {}
            Ok(()) = connected.changed() => {
                stream_pause.reset();
                next_attempt = Instant::now();
            }
        }
    }
}

fn trouble(sources: &Sources, text: &str) {
    sources.board.change(|status| text.clone_into(&mut status.stream_problem));
}
