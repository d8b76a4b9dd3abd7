//! One session with the read model: the loop between the feed, the sweep and the heartbeat.
//!
//! Batches form from the events that wait: while one batch is written, the next gathers.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::open::Opened;
use super::projection::Projection;
use super::shared::Shared;
use super::sweeper::Sweeper;

/// An idle projector checks this often that the read model still exists and is its own.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Smaller batches, in events, follow each other at once: a pause would gain nothing.
const MANY_EVENTS: usize = 12;
/// From this size on, writes keep the machine busy.
const RUSH_EVENTS: usize = 100;
/// From this size on, a batch is about as large as it may be.
const BACKLOG_EVENTS: usize = 1_500;
/// Time between the starts of two batches of many events.
const PACE: Duration = Duration::from_millis(40);
/// The same in a rush. Readers hardly notice: query-service applies recent events to its answers.
const RUSH_PACE: Duration = Duration::from_millis(200);
/// After a batch there is a pause of at least the batch's own time divided by this.
const SHARE_OF_PAUSE: u32 = 3;

/// A session.
pub(super) struct Session<'s> {
    projection: Projection<'s>,
    sweeper: Sweeper,
    /// When the next batch may begin.
    not_before: Instant,
}

impl<'s> Session<'s> {
    pub(super) fn new(shared: &'s Shared, opened: Opened) -> Self {
        let sweeper = Sweeper::new(opened.unchecked);
        Self { projection: Projection::new(shared, opened), sweeper, not_before: Instant::now() }
    }

    /// Runs until `stop`, or until a failure.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<(), Failure> {
        self.projection.publish_applied().await?;
        while !stop.is_cancelled() {
            if Instant::now() < self.not_before {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = sleep_until(self.not_before) => {}
                }
                continue;
            }
            let sweep_due = |projection: &Projection<'_>| projection.sweep.due();
            if let Some(batch) = self.projection.gather(None)? {
                let (events, began) = (batch.events(), Instant::now());
                self.projection.apply(batch).await?;
                self.pace(events, began).await?;
                // Events precede the audit, but delay it by a limited time.
                if Instant::now() < sweep_due(&self.projection) + self.projection.sweep.max_delay() {
                    continue;
                }
            } else {
                self.projection.publish_applied().await?;
            }
            if sweep_due(&self.projection) <= Instant::now() {
                self.sweeper.step(&mut self.projection, stop).await?;
                continue;
            }
            let (due, heartbeat) = (sweep_due(&self.projection), self.projection.contact() + HEARTBEAT);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                received = self.projection.wait() => received?,
                () = sleep_until(due) => {}
                () = sleep_until(heartbeat) => self.projection.check_owner().await?,
            }
        }
        self.projection.publish_applied().await
    }

    /// Lets the batches of a steady stream grow: each costs Neo4j three transactions, however few its events, and their
    /// syncs of the disk compete with those of the writes. A backlog does not wait.
    ///
    /// During the pause no batch is under way, so `visible` and `target` are equal: answers that recent events cannot
    /// be applied to are exact then. So there is a pause after each batch, in proportion to the batch's time.
    async fn pace(&mut self, events: usize, began: Instant) -> Result<(), Failure> {
        let pace = match events {
            ..MANY_EVENTS => Duration::ZERO,
            MANY_EVENTS..RUSH_EVENTS => PACE,
            RUSH_EVENTS..BACKLOG_EVENTS => RUSH_PACE,
            _ => return Ok(()),
        };
        self.projection.publish_applied().await?;
        let now = Instant::now();
        self.not_before = (began + pace).max(now + (now - began) / SHARE_OF_PAUSE);
        Ok(())
    }
}
