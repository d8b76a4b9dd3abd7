//! One session with the read model.
//!
//! Owns: the loop from feed to read model, and the three numbers of the checkpoint. Batches form from what is waiting:
//! while one is written, the next gathers. A small transaction between two batches tells readers at once that the one is
//! there and how far the other goes; when nothing waits, that what is there is all. An event above the limit of a batch is
//! written in several transactions. Its revision is published as `target` before the first, and until the last is in.
//! Must not know: how the feed gets its events. What can go wrong: anything; the session ends then.

use std::time::Duration;

use event_log::{LogPosition, Stop};
use proto::Revision;
use service_kit::trace;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::counts::Tally;
use super::open::Opened;
use super::{Engine, Failure};
use crate::apply::{Batch, Item};
use crate::feed::Feed;
use crate::graph::{self, Changes, Content, Walked};
use crate::metrics::{
    ACCOUNTS_REMOVED, APPLY_SECONDS, BATCH_EDGES, CHANGES, COMPLETE, EVENTS, HEAD, LAG_REVISIONS,
    LAG_SECONDS, PROGRESS, PUBLISH_SECONDS, VISIBLE,
};
use crate::sweep::Sweep;

/// How often an idle projector makes sure that the read model is still there and its own.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Batches of fewer events follow each other at once: nothing is gained by waiting.
const MANY_EVENTS: usize = 12;
/// From so many on, writes are what the machine is busy with.
const RUSH_EVENTS: usize = 100;
/// From so many on, a batch is about as large as one may be.
const BACKLOG_EVENTS: usize = 1_500;
/// Time from the beginning of one batch of many events to the next.
const PACE: Duration = Duration::from_millis(40);
/// The same in a rush. Readers hardly notice: what the read model lacks is laid over its answers.
const RUSH_PACE: Duration = Duration::from_millis(200);

/// A batch is followed by a pause of at least its own time divided by this.
const SHARE_OF_PAUSE: u32 = 3;

/// A session.
pub(super) struct Session<'e> {
    pub(super) engine: &'e Engine,
    /// What is applied.
    pub(super) position: LogPosition,
    /// The event after `position` of which some parts are applied, by this session or one before.
    pub(super) partial: Option<LogPosition>,
    pub(super) sweep: Sweep,
    pub(super) counts: Tally,
    /// A stretch of the walk that runs beside the writer.
    pub(super) walk: Option<JoinHandle<Result<Walked, graph::Error>>>,
    feed: Feed,
    /// An event that did not fit the last batch.
    carry: Option<Item>,
    /// Why the feed ended, once the events before it are applied.
    ended: Option<Stop>,
    /// `visible` and `target` as readers see them; none before the first time.
    shown: Option<(Revision, Revision)>,
    /// When the events that are applied and not shown yet were committed.
    unseen: Vec<OffsetDateTime>,
    /// The traces that those belong to.
    unseen_traces: Vec<String>,
    head: Revision,
    /// Whether the program fits the database was not asked yet.
    pub(super) unasked: bool,
    following: bool,
    contact: Instant,
    /// When the next batch may begin.
    not_before: Instant,
}

impl<'e> Session<'e> {
    pub(super) fn new(engine: &'e Engine, opened: Opened) -> Self {
        let Opened { checkpoint, head, unasked } = opened;
        let now = Instant::now();
        engine.latches.model.ready();
        engine.sources.board.change(|status| {
            // All at once: what was true of the session before, perhaps of another epoch, must not be told as
            // true of this one.
            status.epoch = checkpoint.position.epoch;
            status.revision = checkpoint.position.revision;
            status.visible = checkpoint.position.revision;
            status.complete = checkpoint.cursor.complete;
            status.model_problem.clear();
        });
        Self {
            engine,
            position: checkpoint.position,
            partial: checkpoint.partial,
            sweep: Sweep::resume(checkpoint.cursor, checkpoint.kept, engine.audit_rows_per_second, now),
            counts: Tally::default(),
            walk: None,
            feed: Feed::after(checkpoint.position, &engine.sources),
            carry: None,
            ended: None,
            shown: None,
            unseen: Vec::new(),
            unseen_traces: Vec::new(),
            head,
            unasked,
            following: false,
            contact: now,
            not_before: now,
        }
    }

    /// Runs until told to stop, or until something goes wrong.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<(), Failure> {
        self.publish(self.position.revision).await?;
        while !stop.is_cancelled() {
            if Instant::now() < self.not_before {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = sleep_until(self.not_before) => {}
                }
                continue;
            }
            if let Some(batch) = self.gather(None)? {
                let (events, began) = (batch.events(), Instant::now());
                self.apply(batch).await?;
                self.pace(events, began).await?;
                // Events come before the audit, but not for ever.
                if Instant::now() < self.sweep.due() + self.sweep.patience() {
                    continue;
                }
            } else {
                self.publish(self.position.revision).await?;
            }
            if self.sweep.due() <= Instant::now() {
                self.sweep_step(stop).await?;
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                received = self.feed.next() => self.receive(received)?,
                () = sleep_until(self.sweep.due()) => {}
                () = sleep_until(self.contact + HEARTBEAT) => self.heartbeat().await?,
            }
        }
        self.publish(self.position.revision).await
    }

    /// Lets the batches of a steady stream grow: each costs Neo4j three transactions, however few its events, and their
    /// syncs of the disk compete with those of the writes. A backlog does not wait.
    ///
    /// During the pause nothing is under way, so readers are told that all is there: answers that recent events cannot
    /// be applied to are exact then. So there is a pause after each batch, in proportion to what it took.
    async fn pace(&mut self, events: usize, began: Instant) -> Result<(), Failure> {
        let pace = match events {
            ..MANY_EVENTS => Duration::ZERO,
            MANY_EVENTS..RUSH_EVENTS => PACE,
            RUSH_EVENTS..BACKLOG_EVENTS => RUSH_PACE,
            _ => return Ok(()),
        };
        self.publish(self.position.revision).await?;
        let now = Instant::now();
        self.not_before = (began + pace).max(now + (now - began) / SHARE_OF_PAUSE);
        Ok(())
    }

    /// Waits for the next event, and keeps it.
    pub(super) async fn wait(&mut self) -> Result<(), Failure> {
        let received = self.feed.next().await;
        self.receive(received)
    }

    fn receive(&mut self, received: Result<Item, Stop>) -> Result<(), Failure> {
        self.carry = Some(received?);
        Ok(())
    }

    /// A batch of what is waiting, not beyond `until`.
    pub(super) fn gather(&mut self, until: Option<Revision>) -> Result<Option<Batch>, Failure> {
        if let Some(stop) = self.ended.take() {
            return Err(stop.into());
        }
        let mut batch = Batch::after(self.position);
        loop {
            let item = match self.carry.take() {
                Some(item) => item,
                None => match self.feed.try_next() {
                    None => break,
                    Some(Ok(item)) => item,
                    Some(Err(stop)) if batch.is_empty() => return Err(stop.into()),
                    Some(Err(stop)) => {
                        self.ended = Some(stop);
                        break;
                    }
                },
            };
            if let Some(partial) = self.partial.filter(|partial| partial.contradicts(&item.position)) {
                return Err(Failure::Reset {
                    cause: "contradicted",
                    reason: format!("a part of another event at revision {} was applied", partial.revision),
                });
            }
            if !batch.takes(&item, until, self.engine.batch_limit.get()) {
                self.carry = Some(item);
                break;
            }
            batch.add(item);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Writes a batch. Readers see it with the next [`Self::publish`].
    pub(super) async fn apply(&mut self, batch: Batch) -> Result<(), Failure> {
        self.publish(batch.to().revision).await?;
        let started = Instant::now();
        let (from, to) = (batch.from(), batch.to());
        let written = self.write_parts(&batch).await?;
        self.write_rest(&batch, written).await?;
        // Figures for people; digits beyond 2^53 do not matter.
        metrics::histogram!(BATCH_EDGES).record(batch.net().len() as f64);
        metrics::counter!(EVENTS).increment(batch.events() as u64);
        metrics::counter!(ACCOUNTS_REMOVED, "cause" => "erased").increment(batch.erased().len() as u64);
        tracing::debug!(
            from = from.revision.0,
            to = to.revision.0,
            edges = batch.net().len(),
            took_ms = started.elapsed().as_millis(),
            "batch applied"
        );
        self.position = to;
        self.partial = None;
        self.contact = Instant::now();
        self.unseen.extend_from_slice(batch.committed_at());
        for of in batch.traces() {
            trace::stage("apply", trace::Kind::Consumer, Some(of), started, ("revision", to.revision.0));
        }
        self.unseen_traces.extend_from_slice(batch.traces());
        self.engine.sources.board.change(|status| status.revision = to.revision);
        Ok(())
    }

    /// Writes the parts of a batch above the limit, all but the last, and returns how many changes they hold. Only a
    /// single event is above it.
    ///
    /// If the session ends before the last part, the next one applies the event again, from its first change: setting an
    /// edge and deleting one can be repeated.
    async fn write_parts(&mut self, batch: &Batch) -> Result<usize, Failure> {
        let engine = self.engine;
        let (from, to) = (batch.from(), batch.to());
        let mut written = 0;
        while let Some(part) = batch.part(written, engine.batch_limit.get()) {
            let changes = Changes::of_batch(part, false);
            let started = Instant::now();
            let outcome = engine.replica.apply_part(from, to, &changes).await;
            self.learn(changes.edges(), &outcome);
            outcome?;
            note_written(&changes, started);
            self.partial = Some(to);
            self.contact = Instant::now();
            written += changes.edges();
            tracing::debug!(revision = to.revision.0, written, "a part of an event applied");
        }
        Ok(written)
    }

    /// Writes what is left of a batch after its first changes, and moves the checkpoint.
    async fn write_rest(&mut self, batch: &Batch, written: usize) -> Result<(), Failure> {
        let engine = self.engine;
        let (from, to) = (batch.from(), batch.to());
        // Edges of an event that was begun before may be there.
        let trusting = self.partial.is_none();
        let started = Instant::now();
        let mut changes = changes_of(batch, written, trusting);
        let outcome = match engine.replica.advance(from, to, &changes).await {
            Err(error) if trusting && error.is_conflict() => {
                // An edge said to be new is there: left over from before a reset. The sweep will count it.
                tracing::debug!(from = from.revision.0, "a new edge exists already, setting all of them");
                changes = changes_of(batch, written, false);
                engine.replica.advance(from, to, &changes).await
            }
            outcome => outcome,
        };
        self.learn(batch.size().saturating_sub(written), &outcome);
        outcome?;
        note_written(&changes, started);
        Ok(())
    }

    /// Adapts the limit of a batch to how a transaction of this size ended.
    fn learn(&self, size: usize, outcome: &Result<(), graph::Error>) {
        match outcome {
            Ok(()) => self.engine.batch_limit.applied(size),
            Err(error) if error.may_be_size() => self.engine.batch_limit.failed(size),
            Err(_) => {}
        }
    }

    /// Where the read model's content may reach to: the end of an event of which a part is applied, else the checkpoint.
    pub(super) fn reaches(&self) -> Revision {
        self.partial.map_or(self.position.revision, |partial| partial.revision)
    }

    /// Tells readers that all of what is applied is there, and that nothing beyond `target` is. A target before the end of
    /// an event of which a part is applied is raised to it: else readers would take that part for the state at `position`.
    pub(super) async fn publish(&mut self, target: Revision) -> Result<(), Failure> {
        let target = target.max(self.reaches());
        let wanted = (self.position.revision, target);
        if self.shown != Some(wanted) {
            let started = Instant::now();
            self.engine.replica.publish(self.position, target).await?;
            metrics::histogram!(PUBLISH_SECONDS).record(started.elapsed());
            for of in self.unseen_traces.drain(..) {
                let revision = ("revision", self.position.revision.0);
                trace::stage("visible", trace::Kind::Internal, Some(&of), started, revision);
            }
            self.shown = Some(wanted);
            self.contact = Instant::now();
        }
        self.note();
        Ok(())
    }

    /// Shows the figures to everybody.
    pub(super) fn note(&mut self) {
        let now = self.engine.now();
        let lag = |committed_at: &OffsetDateTime| (now - *committed_at).as_seconds_f64().max(0.0);
        self.unseen.iter().for_each(|at| metrics::histogram!(LAG_SECONDS).record(lag(at)));
        let newest = self.unseen.last().map(lag);
        self.unseen.clear();

        let heard = self.engine.sources.heard.last().filter(|head| head.epoch == self.position.epoch);
        let head = heard.map_or(self.head, |head| head.revision).max(self.position.revision);
        metrics::gauge!(HEAD).set(head.0 as f64);
        metrics::gauge!(LAG_REVISIONS).set(head.0.saturating_sub(self.position.revision.0) as f64);
        metrics::gauge!(VISIBLE).set(self.position.revision.0 as f64);
        let (complete, progress) = (self.sweep.complete(), self.sweep.progress());
        metrics::gauge!(COMPLETE).set(if complete { 1.0 } else { 0.0 });
        metrics::gauge!(PROGRESS).set(progress);

        self.following |= self.position.revision >= self.head;
        let latch = &self.engine.latches.complete;
        match (complete, self.following) {
            (true, true) => latch.ready(),
            (false, _) => latch.not_ready("the read model is being built"),
            (true, false) => latch.not_ready("the read model is catching up"),
        }
        let (revision, visible) =
            (self.position.revision, self.shown.map_or(Revision::ZERO, |(visible, _)| visible));
        self.engine.sources.board.change(|status| {
            status.revision = revision;
            status.visible = visible;
            status.complete = complete;
            status.sweep_progress = progress;
            if let Some(seconds) = newest {
                status.lag_micros = (seconds * 1e6) as u64;
            }
        });
    }

    /// The read model is touched: the next heartbeat can wait.
    pub(super) fn touched(&mut self) {
        self.contact = Instant::now();
    }

    /// Makes sure that the read model is still there, ours, and where we think.
    async fn heartbeat(&mut self) -> Result<(), Failure> {
        match self.engine.replica.look().await? {
            Content::Nothing | Content::Foreign => return Err(graph::Error::Gone.into()),
            Content::Ours(found) if !self.engine.replica.owns(&found) => {
                return Err(graph::Error::Lost { by: found.owner_name }.into());
            }
            Content::Ours(found) if found.position != self.position => {
                let (expected, found) = (self.position.revision, found.position.revision);
                return Err(graph::Error::Moved { expected, found }.into());
            }
            Content::Ours(_) => {}
        }
        self.contact = Instant::now();
        Ok(())
    }
}

/// Figures of a transaction that was committed.
fn note_written(changes: &Changes, started: Instant) {
    metrics::histogram!(APPLY_SECONDS).record(started.elapsed());
    for (op, count) in changes.counts() {
        metrics::counter!(CHANGES, "op" => op).increment(count as u64);
    }
}

/// What a batch changes after its first `written` changes, with the nodes of erased accounts.
fn changes_of(batch: &Batch, written: usize, trusting: bool) -> Changes {
    let mut changes = Changes::of_batch(batch.rest(written), trusting);
    batch.erased().iter().for_each(|user| changes.remove_unused(user.to_string()));
    changes
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // It only reads; its exchange runs to its end by itself.
        if let Some(walk) = self.walk.take() {
            walk.abort();
        }
    }
}
