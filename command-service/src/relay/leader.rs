//! Leads the relay if no other process does: inspects the stream, repairs it, publishes.
//!
//! - NATS is down: events wait in the outbox; writes continue.
//! - The stream has lost its tail, or does not exist: the relay fills it from the outbox.
//! - A stray message took a sequence number: the relay deletes the stream and makes it again.
//! - The stream holds another history of our epoch (a fork): the relay records the fork in PostgreSQL and stops. No
//!   process is ready until an operator opens a new epoch.
//! - Another stream holds the subjects: the relay waits for an operator's consent, and until no process serves that
//!   stream's epoch.
//! - PostgreSQL is a standby: the relay waits for its promotion.

use std::time::Duration;

use async_nats::jetstream;
use proto::graph::v1::StreamState;
use proto::{Epoch, Revision, Token};
use service_kit::Latch;
use service_kit::telemetry::chain;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::heartbeats::Heartbeats;
use super::inspect::{self, Found, Inspection};
use super::publish;
use super::status::StreamStatus;
use super::stream::{self, Settings};
use crate::clock::DatabaseClock;
use crate::leadership::{Leadership, Role};
use crate::metrics;
use crate::store::head::{self, History};
use crate::store::recent::Recent;
use crate::store::within;

/// How often the stream is compared with the outbox.
const INSPECTION_INTERVAL: Duration = Duration::from_secs(1);
/// How often the relay reconnects to learn a new limit of messages.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(5);
/// Exceeds both servers' timeouts.
const INSPECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// The relay of one process. One process at a time leads; the others watch.
pub struct Relay {
    pool: PgPool,
    jetstream: jetstream::Context,
    settings: Settings,
    wiring: Wiring,
    /// Shows which epochs are in use.
    heartbeats: Heartbeats,
    /// Since when the stream could not be inspected at all, after the start or a recovery: any event of the outbox may
    /// be unpublished.
    unseen_since: Option<Instant>,
    /// An event that exceeds NATS's limit of messages.
    stuck: Option<Stuck>,
}

/// An event that exceeds NATS's limit of messages.
struct Stuck {
    problem: String,
    /// When the relay last reconnected for it.
    reconnected_at: Instant,
}

/// What the relay shares with the rest of the process.
pub struct Wiring {
    /// Receives the state of the stream.
    pub status: watch::Sender<StreamStatus>,
    /// The check `stream`; fails while the history is forked.
    pub latch: Latch,
    /// The check `message size`; fails while NATS's limit is below the largest event.
    pub limits: Latch,
    /// New heads, from the committer and from other processes. The relay polls as well.
    pub committed: watch::Receiver<Token>,
    /// Events that this process has committed.
    pub recent: Recent,
    /// Measures how long events wait.
    pub clock: DatabaseClock,
}

impl Relay {
    /// The relay of this process.
    pub fn new(pool: PgPool, client: async_nats::Client, settings: Settings, wiring: Wiring) -> Self {
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(Duration::from_secs(2));
        let heartbeats = Heartbeats::default();
        Self { pool, jetstream, settings, wiring, heartbeats, unseen_since: None, stuck: None }
    }

    /// The listener that must run as long as the relay.
    pub fn heartbeats(&self) -> Heartbeats {
        self.heartbeats.clone()
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        ::metrics::gauge!(metrics::RELAY_LEADER).set(0.0);
        while !stop.is_cancelled() {
            match Leadership::try_take(&self.pool, Role::Relay).await {
                Ok(Some(leadership)) => {
                    tracing::info!("leading the relay");
                    // A failover may have lost the newest commits since: publish only what the outbox holds.
                    self.wiring.recent.clear();
                    ::metrics::gauge!(metrics::RELAY_LEADER).set(1.0);
                    self.lead(leadership, &stop).await;
                    ::metrics::gauge!(metrics::RELAY_LEADER).set(0.0);
                    self.set(|status| status.leader = false);
                }
                Ok(None) => self.observe().await,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot ask for the relay's leadership");
                    self.observe().await;
                }
            }
            pause(INSPECTION_INTERVAL, &stop).await;
        }
        Ok(())
    }

    /// Inspects the stream without changing it.
    async fn observe(&mut self) {
        if let Err(error) = self.inspect().await {
            self.unreachable(&error).await;
        }
    }

    /// Publishes while this process leads.
    async fn lead(&mut self, mut leadership: Leadership, stop: &CancellationToken) {
        self.set(|status| status.leader = true);
        let mut up_to_date = false;
        let mut retry = Duration::from_millis(20);
        while !stop.is_cancelled() {
            if let Err(error) = leadership.check().await {
                tracing::warn!(error = %chain(&error), "lost the relay's leadership");
                return;
            }
            match self.step(&mut up_to_date, stop).await {
                Ok(()) => {
                    retry = Duration::from_millis(20);
                    self.stuck = None;
                }
                Err(error) => {
                    self.note_stuck(&error).await;
                    tracing::warn!(error = %chain(&error), "the relay starts over");
                    ::metrics::counter!(metrics::RELAY_RESTARTS).increment(1);
                    self.unreachable(&error).await;
                    pause(retry, stop).await;
                    retry = (retry * 2).min(Duration::from_secs(1));
                }
            }
        }
    }

    /// The client learns the server's limit only when it connects, so it reconnects.
    async fn note_stuck(&mut self, error: &Error) {
        if !matches!(error, Error::TooLarge { .. }) {
            return;
        }
        let reconnected_at = match &self.stuck {
            Some(stuck) if stuck.reconnected_at.elapsed() < RECONNECT_INTERVAL => stuck.reconnected_at,
            _ => {
                // It fails only if the client has ended.
                let _ = self.jetstream.client().force_reconnect().await;
                Instant::now()
            }
        };
        self.stuck = Some(Stuck { problem: error.to_string(), reconnected_at });
    }

    /// Inspects the stream, then publishes or repairs it.
    async fn step(&mut self, up_to_date: &mut bool, stop: &CancellationToken) -> Result<(), Error> {
        let (history, found) = self.inspect().await?;
        match found {
            Found::Missing { first, given_up } => {
                stream::create(&self.jetstream, &self.settings, &history, first, &given_up).await?;
            }
            Found::Good { next, after } => {
                if !std::mem::replace(up_to_date, true) {
                    stream::update(&self.jetstream, &self.settings, &history).await;
                }
                let until = Instant::now() + INSPECTION_INTERVAL;
                let context = publish::Context {
                    pool: &self.pool,
                    jetstream: &self.jetstream,
                    epoch: history.epoch,
                    recent: &self.wiring.recent,
                    status: &self.wiring.status,
                    clock: &self.wiring.clock,
                };
                context.publish_from(next, after, until, &mut self.wiring.committed, stop).await?;
            }
            Found::Stray(problem) => {
                tracing::error!(
                    problem,
                    "the stream contains a foreign message: creating it again from the outbox"
                );
                ::metrics::counter!(metrics::STREAM_RECREATED).increment(1);
                stream::delete(&self.jetstream, &proto::subjects::stream_name(history.epoch)).await?;
            }
            Found::Blocked(_) | Found::Fork(_) => pause(INSPECTION_INTERVAL, stop).await,
        }
        Ok(())
    }

    /// Compares the stream with the outbox, and updates the status, the checks and the metrics.
    async fn inspect(&mut self) -> Result<(History, Found), Error> {
        let inspection = tokio::time::timeout(INSPECTION_TIMEOUT, self.inspect_stream()).await;
        let inspection = inspection.map_err(|_| Error::TimedOut)??;
        self.check_limits();
        let (state, problem) = match &inspection.found {
            Found::Good { .. } if let Some(stuck) = &self.stuck => {
                (StreamState::Blocked, stuck.problem.clone())
            }
            Found::Good { .. } => (StreamState::Ok, String::new()),
            Found::Missing { .. } => (StreamState::Repairing, "the stream does not exist".to_owned()),
            Found::Stray(problem) => (StreamState::Repairing, problem.clone()),
            Found::Blocked(problem) => (StreamState::Blocked, problem.clone()),
            Found::Fork(problem) => (StreamState::Forked, problem.clone()),
        };
        match state {
            StreamState::Forked => {
                tracing::error!(problem, "the stream is of another history: the relay has stopped");
                self.wiring.latch.not_ready(&problem);
            }
            // Writes do not depend on NATS: only a fork fails the check.
            _ => self.wiring.latch.ready(),
        }
        if matches!(inspection.found, Found::Blocked(_)) {
            tracing::warn!(problem, "the relay has no stream of its own");
        }
        self.gauge(state);
        if let Some((_, last)) = inspection.stream {
            self.note(inspection.head.revision, last, inspection.oldest_unpublished);
        }
        self.set(|status| {
            status.name = proto::subjects::stream_name(inspection.head.epoch);
            status.state = state;
            status.problem.clone_from(&problem);
            status.fork_recorded = inspection.history.fork.is_some();
            let ours = !matches!(inspection.found, Found::Blocked(_));
            status.speaks_for = ours.then_some(inspection.history.epoch);
            if let Some((first, last)) = inspection.stream {
                (status.first, status.last, status.seen) = (first, last, true);
                status.oldest_unpublished = inspection.oldest_unpublished;
            }
        });
        if inspection.stream.is_some() {
            self.unseen_since = None;
        }
        // Last: this process refuses commands even if the fork cannot be recorded.
        if state == StreamState::Forked && inspection.history.fork.is_none() {
            self.record_fork(inspection.history.epoch, &problem).await?;
        }
        Ok((inspection.history, inspection.found))
    }

    /// Reads the history from PostgreSQL, then the stream from NATS.
    async fn inspect_stream(&self) -> Result<Inspection, Error> {
        let mut connection = service_kit::postgres::acquire(&self.pool).await?;
        let history = inspect::history(&mut connection).await?;
        self.resume_after_fork(&history);
        inspect::inspect(&mut connection, history, &self.jetstream, &self.heartbeats).await
    }

    /// Accepts commands again when PostgreSQL no longer records the fork (an operator has opened a new epoch), also
    /// while NATS is down. A fork that could not be recorded lasts until the stream is inspected again.
    fn resume_after_fork(&self, history: &History) {
        if history.fork.is_some() || !self.wiring.status.borrow().shows_recorded_fork() {
            return;
        }
        tracing::info!(epoch = history.epoch.0, "PostgreSQL no longer records a fork");
        self.wiring.latch.ready();
        self.gauge(StreamState::Unspecified);
        // The known state is that of another history's stream.
        self.set(|status| {
            *status = StreamStatus { leader: status.leader, ..StreamStatus::unseen(history.epoch) };
        });
    }

    /// Records the fork for all processes, also after a restart and while NATS is down.
    async fn record_fork(&self, epoch: Epoch, problem: &str) -> Result<(), Error> {
        within(async {
            let mut connection = service_kit::postgres::acquire(&self.pool).await?;
            head::record_fork(&mut connection, epoch, problem).await
        })
        .await?;
        self.set(|status| status.fork_recorded = true);
        Ok(())
    }

    /// Checks NATS's limit before an event exceeds it.
    fn check_limits(&self) {
        let limit = self.jetstream.client().max_payload();
        if limit >= publish::LARGEST_MESSAGE {
            self.wiring.limits.ready();
        } else {
            self.wiring.limits.not_ready(&format!(
                "max_payload of NATS is {limit} bytes, and an event with its headers may have {}",
                publish::LARGEST_MESSAGE
            ));
        }
    }

    fn gauge(&self, state: StreamState) {
        let switch = |of| f64::from(u8::from(state == of));
        ::metrics::gauge!(metrics::STREAM_FORKED).set(switch(StreamState::Forked));
        ::metrics::gauge!(metrics::STREAM_BLOCKED).set(switch(StreamState::Blocked));
    }

    /// Updates the status after a failed step. PostgreSQL still knows which events wait.
    async fn unreachable(&mut self, error: &Error) {
        let state = match error {
            Error::Standby => StreamState::Standby,
            Error::Blocked(_) | Error::TooLarge { .. } => StreamState::Blocked,
            _ => StreamState::Unreachable,
        };
        // Only PostgreSQL's record, or another inspection, ends a fork.
        if self.wiring.status.borrow().state == StreamState::Forked {
            return;
        }
        self.gauge(state);
        // Other checks cover whether PostgreSQL answers and takes writes.
        self.wiring.latch.ready();
        self.set(|status| {
            status.state = state;
            status.problem = chain(error);
        });
        let last = {
            let status = self.wiring.status.borrow();
            status.seen.then_some(status.last)
        };
        match last {
            Some(last) => {
                if let Ok(Ok((head, oldest))) =
                    tokio::time::timeout(INSPECTION_TIMEOUT, inspect::waiting(&self.pool, last)).await
                {
                    self.note(head, last, oldest);
                    self.set(|status| status.oldest_unpublished = oldest);
                }
            }
            None if state == StreamState::Unreachable => self.note_unseen().await,
            None => {}
        }
    }

    /// A process that starts while NATS is down does not know which events are published. All may have waited since
    /// then: a restart must not end an alert on their age.
    async fn note_unseen(&mut self) {
        if let Ok(Ok(true)) = tokio::time::timeout(INSPECTION_TIMEOUT, inspect::has_events(&self.pool)).await
        {
            let since = *self.unseen_since.get_or_insert_with(Instant::now);
            ::metrics::gauge!(metrics::OUTBOX_OLDEST_SECONDS).set(since.elapsed().as_secs_f64());
        }
    }

    /// Sets the gauges. Revisions above 2^53 lose precision, which does not matter in a chart.
    fn note(&self, head: Revision, last: Revision, oldest: Option<Duration>) {
        ::metrics::gauge!(metrics::STREAM_REVISION).set(last.0 as f64);
        ::metrics::gauge!(metrics::OUTBOX_UNPUBLISHED).set(head.0.saturating_sub(last.0) as f64);
        ::metrics::gauge!(metrics::OUTBOX_OLDEST_SECONDS).set(oldest.unwrap_or_default().as_secs_f64());
    }

    fn set(&self, change: impl FnOnce(&mut StreamStatus)) {
        self.wiring.status.send_modify(change);
    }
}

async fn pause(time: Duration, stop: &CancellationToken) {
    stop.run_until_cancelled(tokio::time::sleep(time)).await;
}
