//! From the feed to the read model, and the three numbers of its checkpoint.
//!
//! A small transaction before each batch sets `visible` to what is applied and `target` to the end of the batch; when
//! no event waits, both are equal. An event above the limit of a batch is written in several transactions. Its revision
//! is published as `target` before the first of them, and until the last one is committed.

use event_log::{LogPosition, Stop};
use proto::Revision;
use service_kit::trace::{Kind, Parent, Span};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::failure::Failure;
use super::open::Opened;
use super::shared::Shared;
use crate::apply::{Batch, Item};
use crate::feed::Feed;
use crate::graph::{self, Changes, Content};
use crate::metrics::{
    ACCOUNTS_REMOVED, APPLY_SECONDS, BATCH_EDGES, CHANGES, COMPLETE, EVENTS, HEAD, LAG_REVISIONS,
    LAG_SECONDS, PROGRESS, PUBLISH_SECONDS, VISIBLE,
};
use crate::sweep::Sweep;

/// The read model as this session knows it.
pub(super) struct Projection<'s> {
    pub(super) shared: &'s Shared,
    /// The last event that is applied.
    pub(super) position: LogPosition,
    pub(super) sweep: Sweep,
    /// The event after `position` that is applied in part, by this session or an earlier one.
    partial: Option<LogPosition>,
    feed: Feed,
    /// An event that did not fit the last batch.
    carry: Option<Item>,
    /// Why the feed ended. The events before it are applied first.
    ended: Option<Stop>,
    /// `visible` and `target` as published; `None` before the first time.
    published: Option<(Revision, Revision)>,
    /// A repair was committed since.
    repaired: bool,
    /// Commit times of the events that are applied and not visible yet.
    unseen: Vec<OffsetDateTime>,
    /// The traces of these events.
    unseen_traces: Vec<String>,
    /// The head when the session was opened.
    head: Revision,
    following: bool,
    /// When the read model last proved that it is ours.
    contact: Instant,
}

impl<'s> Projection<'s> {
    pub(super) fn new(shared: &'s Shared, opened: Opened) -> Self {
        let Opened { checkpoint, head, .. } = opened;
        let now = Instant::now();
        shared.latches.model.ready();
        shared.sources.board.change(|status| {
            // In one change: figures of the session before may be of another epoch.
            status.epoch = checkpoint.position.epoch;
            status.revision = checkpoint.position.revision;
            status.visible = checkpoint.position.revision;
            status.complete = checkpoint.cursor.complete;
            status.model_problem.clear();
        });
        Self {
            shared,
            position: checkpoint.position,
            sweep: Sweep::resume(checkpoint.cursor, checkpoint.kept, shared.sweep_edges_per_second, now),
            partial: checkpoint.partial,
            feed: Feed::after(checkpoint.position, &shared.sources),
            carry: None,
            ended: None,
            published: None,
            repaired: false,
            unseen: Vec::new(),
            unseen_traces: Vec::new(),
            head,
            following: false,
            contact: now,
        }
    }

    /// Waits for the next event, and keeps it for [`Self::gather`].
    pub(super) async fn wait(&mut self) -> Result<(), Failure> {
        self.carry = Some(self.feed.next().await?);
        Ok(())
    }

    /// A batch of the events that wait, up to `until`.
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
            if !batch.takes(&item, until, self.shared.batch_limit.get()) {
                self.carry = Some(item);
                break;
            }
            batch.add(item);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Writes a batch. Readers see it after the next publication.
    pub(super) async fn apply(&mut self, batch: Batch) -> Result<(), Failure> {
        self.publish(batch.to.revision).await?;
        let started = Instant::now();
        let (from, to) = (batch.from, batch.to);
        let mut span = Span::of_batch("apply", Kind::Consumer, batch.traces.iter().map(String::as_str));
        span.set("revision", to.revision.0);
        span.set("events", batch.events() as u64);
        let outcome = self.write(&batch, &span.as_parent()).await;
        span.finish(outcome)?;
        // Figures for people; digits beyond 2^53 do not matter.
        metrics::histogram!(BATCH_EDGES).record(batch.net.len() as f64);
        metrics::counter!(EVENTS).increment(batch.events() as u64);
        metrics::counter!(ACCOUNTS_REMOVED, "cause" => "erased").increment(batch.erased.len() as u64);
        tracing::debug!(
            from = from.revision.0,
            to = to.revision.0,
            edges = batch.net.len(),
            took_ms = started.elapsed().as_millis(),
            "batch applied"
        );
        self.position = to;
        self.partial = None;
        self.touched();
        self.unseen.extend_from_slice(&batch.committed_at);
        self.unseen_traces.extend_from_slice(&batch.traces);
        self.shared.sources.board.change(|status| status.revision = to.revision);
        Ok(())
    }

    async fn write(&mut self, batch: &Batch, span: &Parent) -> Result<(), graph::Error> {
        let written = self.write_parts(batch, span).await?;
        self.write_rest(batch, written, span).await
    }

    /// Writes the parts of a batch above the limit, all but the last, and returns how many changes they hold. Only a
    /// single event is above it.
    ///
    /// If the session ends before the last part, the next one applies the event again, from its first change: setting
    /// an edge and deleting one can be repeated.
    async fn write_parts(&mut self, batch: &Batch, span: &Parent) -> Result<usize, graph::Error> {
        let shared = self.shared;
        let (from, to) = (batch.from, batch.to);
        let mut written = 0;
        while let Some(part) = batch.part(written, shared.batch_limit.get()) {
            let changes = Changes::of_batch(part, false);
            let started = Instant::now();
            let outcome = shared.replica.apply_part(from, to, &changes, span).await;
            self.adapt_limit(changes.edges(), &outcome);
            outcome?;
            record_transaction(&changes, started);
            self.partial = Some(to);
            self.touched();
            written += changes.edges();
            tracing::debug!(revision = to.revision.0, written, "a part of an event applied");
        }
        Ok(written)
    }

    /// Writes the changes of a batch after the first `written`, and moves the checkpoint.
    async fn write_rest(&mut self, batch: &Batch, written: usize, span: &Parent) -> Result<(), graph::Error> {
        let shared = self.shared;
        let (from, to) = (batch.from, batch.to);
        // Edges of an event that is applied in part may exist.
        let trusting = self.partial.is_none();
        let started = Instant::now();
        let mut changes = changes_of(batch, written, trusting);
        let outcome = match shared.replica.advance(from, to, &changes, span).await {
            Err(error) if trusting && error.is_conflict() => {
                // An edge that is new in the log exists: left over from before a reset. The sweep counts it.
                tracing::debug!(from = from.revision.0, "a new edge exists already, setting all of them");
                changes = changes_of(batch, written, false);
                shared.replica.advance(from, to, &changes, span).await
            }
            outcome => outcome,
        };
        self.adapt_limit(batch.size.saturating_sub(written), &outcome);
        outcome?;
        record_transaction(&changes, started);
        Ok(())
    }

    fn adapt_limit(&self, size: usize, outcome: &Result<(), graph::Error>) {
        match outcome {
            Ok(()) => self.shared.batch_limit.applied(size),
            Err(error) if error.may_be_size() => self.shared.batch_limit.failed(size),
            Err(_) => {}
        }
    }

    /// The newest revision of which the read model may hold changes: an event that is applied in part counts.
    pub(super) fn reaches(&self) -> Revision {
        self.partial.map_or(self.position.revision, |partial| partial.revision)
    }

    /// Publishes that readers see all that is applied, and that nothing is under way.
    pub(super) async fn publish_applied(&mut self) -> Result<(), Failure> {
        self.publish(self.position.revision).await
    }

    /// Publishes that readers see all that is applied, and nothing beyond `target`. While an event is applied in part,
    /// `target` is at least that event: readers would take the part for the state at `position`.
    async fn publish(&mut self, target: Revision) -> Result<(), Failure> {
        let target = target.max(self.reaches());
        let wanted = (self.position.revision, target);
        if self.repaired || self.published != Some(wanted) {
            let started = Instant::now();
            let traces = std::mem::take(&mut self.unseen_traces);
            let mut span = Span::of_batch("visible", Kind::Internal, traces.iter().map(String::as_str));
            span.set("revision", self.position.revision.0);
            let outcome = self.shared.replica.publish(self.position, target, &span.as_parent()).await;
            span.finish(outcome)?;
            metrics::histogram!(PUBLISH_SECONDS).record(started.elapsed());
            self.published = Some(wanted);
            self.repaired = false;
            self.touched();
        }
        self.report();
        Ok(())
    }

    /// Updates metrics, readiness and status.
    pub(super) fn report(&mut self) {
        let now = self.shared.now();
        let lag = |committed_at: &OffsetDateTime| (now - *committed_at).as_seconds_f64().max(0.0);
        self.unseen.iter().for_each(|at| metrics::histogram!(LAG_SECONDS).record(lag(at)));
        let newest = self.unseen.last().map(lag);
        self.unseen.clear();

        let heard = self.shared.sources.heard.last().filter(|head| head.epoch == self.position.epoch);
        let head = heard.map_or(self.head, |head| head.revision).max(self.position.revision);
        metrics::gauge!(HEAD).set(head.0 as f64);
        metrics::gauge!(LAG_REVISIONS).set(head.0.saturating_sub(self.position.revision.0) as f64);
        metrics::gauge!(VISIBLE).set(self.position.revision.0 as f64);
        let (complete, progress) = (self.sweep.complete(), self.sweep.progress());
        metrics::gauge!(COMPLETE).set(if complete { 1.0 } else { 0.0 });
        metrics::gauge!(PROGRESS).set(progress);

        self.following |= self.position.revision >= self.head;
        let latch = &self.shared.latches.complete;
        match (complete, self.following) {
            (true, true) => latch.ready(),
            (false, _) => latch.not_ready("the read model is being built"),
            (true, false) => latch.not_ready("the read model is catching up"),
        }
        let (revision, visible) =
            (self.position.revision, self.published.map_or(Revision::ZERO, |(visible, _)| visible));
        self.shared.sources.board.change(|status| {
            status.revision = revision;
            status.visible = visible;
            status.complete = complete;
            status.sweep_progress = progress;
            if let Some(seconds) = newest {
                status.lag_micros = (seconds * 1e6) as u64;
            }
        });
    }

    /// A repair was committed: the next publication says so, even at the same revision.
    pub(super) fn repaired(&mut self) {
        self.repaired = true;
    }

    /// An exchange with the read model succeeded: the next heartbeat can wait.
    pub(super) fn touched(&mut self) {
        self.contact = Instant::now();
    }

    /// When an exchange with the read model last succeeded.
    pub(super) fn contact(&self) -> Instant {
        self.contact
    }

    /// Fails unless the read model exists, is ours, and is at our position.
    pub(super) async fn check_owner(&mut self) -> Result<(), Failure> {
        match self.shared.replica.look().await? {
            Content::Nothing | Content::Foreign => return Err(graph::Error::Gone.into()),
            Content::Ours(found) if !self.shared.replica.owns(&found) => {
                return Err(graph::Error::Lost { by: found.owner_name }.into());
            }
            Content::Ours(found) if found.position != self.position => {
                let (expected, found) = (self.position.revision, found.position.revision);
                return Err(graph::Error::Moved { expected, found }.into());
            }
            Content::Ours(_) => {}
        }
        self.touched();
        Ok(())
    }
}

/// Metrics of a committed transaction.
fn record_transaction(changes: &Changes, started: Instant) {
    metrics::histogram!(APPLY_SECONDS).record(started.elapsed());
    for (op, count) in changes.counts() {
        metrics::counter!(CHANGES, "op" => op).increment(count as u64);
    }
}

/// The changes of a batch after the first `written`, and the nodes of erased accounts.
fn changes_of(batch: &Batch, written: usize, trusting: bool) -> Changes {
    let mut changes = Changes::of_batch(batch.rest(written), trusting);
    batch.erased.iter().for_each(|user| changes.remove_unused(user.to_string()));
    changes
}
