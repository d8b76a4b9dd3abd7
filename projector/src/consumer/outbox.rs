//! Catching up from the outbox.
//!
//! Owns: reading events from the source of truth until its head, with the same checks as for the stream.
//! Must not know: NATS. What can go wrong: see [`Ended`].

use std::time::Duration;

use service_kit::trace;

use super::check::{self, Mismatch};
use super::{Closed, Outlet, Stop};
use crate::mark::Mark;
use crate::metrics::OUTBOX_EVENTS;
use crate::truth::{self, OutboxRow, Truth};

/// Events read at once: a few megabytes at most.
const PAGE: u32 = 64;
/// Longest wait for one page; the database has its own limits, this one covers a connection that died silently.
const PATIENCE: Duration = Duration::from_secs(30);

/// How catching up ended, if not at the head.
pub enum Ended {
    /// For good.
    Stop(Stop),
    /// The reader is gone.
    Closed,
    /// The database did not answer; another attempt may help.
    Failed(String),
    /// The head is behind what was applied. The database has lost commits, or is about to be replaced.
    Ahead(Mark),
}

impl From<Closed> for Ended {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<truth::Error> for Ended {
    fn from(error: truth::Error) -> Self {
        Self::Failed(format!("{:#}", anyhow::Error::from(error)))
    }
}

/// Sends every event from `last` to the present head; `last` moves along. Answers how many there were.
pub async fn catch_up(truth: &Truth, last: &mut Mark, outlet: &Outlet) -> Result<u64, Ended> {
    let mut events = 0;
    loop {
        // The head first: events that it counts are there when the page is read.
        let (head, rows) = page(truth, *last).await?;
        if head.epoch != last.epoch {
            return Err(Ended::Stop(Stop::OtherEpoch));
        }
        if head.contradicts(last) {
            return Err(Ended::Stop(Stop::Contradicted(last.revision)));
        }
        if head.revision < last.revision {
            return Err(Ended::Ahead(head));
        }
        if head.revision == last.revision && rows.is_empty() {
            return Ok(events);
        }
        // The rows after ours are gone, or there are none although the head says so.
        if rows.first().is_none_or(|row| row.mark.revision != last.revision.next()) {
            return Err(Ended::Stop(Stop::Pruned(last.revision.next())));
        }
        for row in rows {
            let mut item = checked(*last, &row).map_err(Ended::Stop)?;
            let _span = tracing::debug_span!(
                "process",
                otel.name = format!("process followgraph.events.{}", row.verb),
                revision = row.mark.revision.0,
                traceparent = row.traceparent.as_deref().unwrap_or_default(),
            )
            .entered();
            tracing::trace!("event from the outbox");
            drop(_span);
            if trace::enabled() {
                item.traceparent.clone_from(&row.traceparent);
            }
            *last = item.mark;
            outlet.send(item).await?;
            events += 1;
            metrics::counter!(OUTBOX_EVENTS).increment(1);
        }
    }
}

async fn page(truth: &Truth, last: Mark) -> Result<(Mark, Vec<OutboxRow>), Ended> {
    let read = async {
        let head = truth.head().await?;
        Ok::<_, Ended>((head, truth.events_after(last.epoch, last.revision, PAGE).await?))
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(read) => read,
        Err(_) => Err(Ended::Failed("PostgreSQL does not answer".to_owned())),
    }
}

/// The outbox is the truth: what is wrong here is wrong with what was applied before, or not for us to read.
fn checked(last: Mark, row: &OutboxRow) -> Result<crate::apply::Item, Stop> {
    let unreadable = |source| Stop::Unreadable { revision: row.mark.revision, source };
    let event = row.decode().map_err(unreadable)?;
    check::next(last, None, &event).map_err(|mismatch| match mismatch {
        Mismatch::Unreadable(source) => unreadable(source),
        Mismatch::Chain => Stop::Contradicted(last.revision),
        Mismatch::OtherPlace(_) | Mismatch::Header => {
            unreadable(proto::event::DecodeError::Field("revision"))
        }
    })
}
