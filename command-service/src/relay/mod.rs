//! The relay: from the outbox to the stream, each revision exactly once, in order.
//!
//! Owns: leadership, and what to do about each way in which the stream can stand
//! against the outbox. It must not know what an event says.
//!
//! The stream's sequence number of an event is its revision. So the relay keeps no
//! cursor: it goes on at the stream's last sequence + 1, and the stream refuses
//! whatever is not next, be it from a zombie or a repeat.
//!
//! What can go wrong:
//! - NATS is away: events wait in the outbox; writes go on.
//! - The stream has lost its tail, or is gone: it is filled up from the outbox.
//! - A stray message took a sequence number: the stream is made again.
//! - The stream holds another history of our epoch (a fork): the relay stops, the
//!   process is not ready, and an operator must open a new epoch.

mod acknowledged;
mod inspect;
mod publish;
mod recent;
mod stream;

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

pub use acknowledged::Acknowledged;
pub use recent::Recent;
pub use stream::Settings;

use crate::leadership::{Leadership, Role};
use crate::metrics;
use inspect::Found;

/// How often the stream is compared with the outbox, also when all is quiet.
const INSPECTION: Duration = Duration::from_secs(1);
/// Longer than the timeouts of both servers.
const PATIENCE: Duration = Duration::from_secs(15);

/// How the stream stands, for status and readiness.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The stream's name.
    pub name: String,
    /// How it stands.
    pub state: StreamState,
    /// The oldest revision in it.
    pub first: Revision,
    /// The newest revision in it.
    pub last: Revision,
    /// This process publishes.
    pub leader: bool,
    /// What is wrong.
    pub problem: String,
    /// Age of the oldest event that is not in it.
    pub oldest_unpublished: Option<Duration>,
    /// It was looked at since the process started: `last` means something.
    pub seen: bool,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            name: proto::subjects::STREAM.to_owned(),
            state: StreamState::Unspecified,
            first: Revision::ZERO,
            last: Revision::ZERO,
            leader: false,
            problem: "not looked at yet".to_owned(),
            oldest_unpublished: None,
            seen: false,
        }
    }
}

/// What the relay cannot go on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL does not answer.
    #[error("cannot read the outbox")]
    Postgres(#[from] sqlx::Error),
    /// NATS does not answer.
    #[error("NATS does not answer: {0}")]
    Nats(String),
    /// Neither failed nor answered: a machine that is gone, for instance.
    #[error("PostgreSQL or NATS does not answer in time")]
    TimedOut,
    /// The stream did not take an event as the next one.
    #[error("the stream refused revision {revision}: {problem}")]
    Refused {
        /// The revision.
        revision: Revision,
        /// What it said.
        problem: String,
    },
}

/// The relay of one process. One process at a time leads; the others watch.
pub struct Relay {
    pool: PgPool,
    jetstream: jetstream::Context,
    settings: Settings,
    standing: watch::Sender<Standing>,
    latch: Latch,
    /// Told of each new head, by the committer and by other replicas.
    committed: watch::Receiver<Token>,
    /// What this process has just committed.
    recent: Recent,
}

impl Relay {
    /// A relay. `committed` wakes it; it polls too.
    pub fn new(
        pool: PgPool,
        client: async_nats::Client,
        settings: Settings,
        standing: watch::Sender<Standing>,
        latch: Latch,
        committed: watch::Receiver<Token>,
        recent: Recent,
    ) -> Self {
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(Duration::from_secs(2));
        // What NATS does is no reason to refuse writes; only a fork is.
        latch.ready();
        Self { pool, jetstream, settings, standing, latch, committed, recent }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        ::metrics::gauge!(metrics::RELAY_LEADER).set(0.0);
        while !stop.is_cancelled() {
            match Leadership::try_take(&self.pool, Role::Relay).await {
                Ok(Some(leadership)) => {
                    tracing::info!("leading the relay");
                    // The session before may have ended with a failover that lost the newest commits: from here on,
                    // only what the outbox holds is published.
                    self.recent.clear();
                    ::metrics::gauge!(metrics::RELAY_LEADER).set(1.0);
                    self.lead(leadership, &stop).await;
                    ::metrics::gauge!(metrics::RELAY_LEADER).set(0.0);
                    self.set(|standing| standing.leader = false);
                }
                Ok(None) => {
                    if let Err(error) = self.inspect().await {
                        self.unreachable(&error).await;
                    }
                }
                Err(error) => tracing::warn!(error = %chain(&error), "cannot ask for the relay's leadership"),
            }
            pause(INSPECTION, &stop).await;
        }
        Ok(())
    }

    /// Publishes for as long as this process leads.
    async fn lead(&mut self, mut leadership: Leadership, stop: &CancellationToken) {
        self.set(|standing| standing.leader = true);
        let mut up_to_date = false;
        let mut retry = Duration::from_millis(20);
        while !stop.is_cancelled() {
            if let Err(error) = leadership.check().await {
                tracing::warn!(error = %chain(&error), "lost the relay's leadership");
                return;
            }
            match self.step(&mut up_to_date, stop).await {
                Ok(()) => retry = Duration::from_millis(20),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the relay starts over");
                    ::metrics::counter!(metrics::RELAY_RESTARTS).increment(1);
                    self.unreachable(&error).await;
                    pause(retry, stop).await;
                    retry = (retry * 2).min(Duration::from_secs(1));
                }
            }
        }
    }

    /// Looks, and does what is needed.
    async fn step(&mut self, up_to_date: &mut bool, stop: &CancellationToken) -> Result<(), Error> {
        match self.inspect().await? {
            (epoch, Found::Missing { first }) => {
                stream::create(&self.jetstream, &self.settings, epoch, first).await?;
            }
            (epoch, Found::Good { next }) => {
                if !std::mem::replace(up_to_date, true) {
                    stream::update(&self.jetstream, &self.settings, epoch).await;
                }
                let until = Instant::now() + INSPECTION;
                let context = publish::Context {
                    pool: &self.pool,
                    jetstream: &self.jetstream,
                    epoch,
                    recent: &self.recent,
                    standing: &self.standing,
                };
                context.publish_from(next, until, &mut self.committed, stop).await?;
            }
            (epoch, Found::Stray { problem }) => {
                tracing::error!(
                    problem,
                    "the stream holds what is not ours: making it again from the outbox"
                );
                ::metrics::counter!(metrics::STREAM_RECREATED).increment(1);
                stream::delete(&self.jetstream, epoch).await?;
            }
            (_, Found::Fork { .. }) => pause(INSPECTION, stop).await,
        }
        Ok(())
    }

    /// Compares the stream with the outbox and tells everyone how it stands.
    async fn inspect(&self) -> Result<(Epoch, Found), Error> {
        let inspection = inspect::inspect(&self.pool, &self.jetstream);
        let inspection = tokio::time::timeout(PATIENCE, inspection).await.map_err(|_| Error::TimedOut)??;
        let (state, problem) = match &inspection.found {
            Found::Good { .. } => (StreamState::Ok, String::new()),
            Found::Missing { .. } => (StreamState::Repairing, "the stream does not exist".to_owned()),
            Found::Stray { problem } => (StreamState::Repairing, problem.clone()),
            Found::Fork { problem } => (StreamState::Forked, problem.clone()),
        };
        if state == StreamState::Forked {
            tracing::error!(problem, "the stream is of another history: the relay has stopped");
            self.latch.not_ready(&problem);
        } else {
            self.latch.ready();
        }
        ::metrics::gauge!(metrics::STREAM_FORKED).set(f64::from(u8::from(state == StreamState::Forked)));
        self.note(inspection.head.revision, inspection.last, inspection.oldest_unpublished);
        self.set(|standing| {
            standing.name = proto::subjects::stream_name(inspection.head.epoch);
            standing.state = state;
            standing.first = inspection.first;
            standing.last = inspection.last;
            standing.problem = problem;
            standing.oldest_unpublished = inspection.oldest_unpublished;
            standing.seen = true;
        });
        Ok((inspection.head.epoch, inspection.found))
    }

    /// The stream cannot be looked at. What waits for it is still known, for as long as PostgreSQL answers.
    async fn unreachable(&self, error: &Error) {
        self.set(|standing| {
            if standing.state != StreamState::Forked {
                standing.state = StreamState::Unreachable;
                standing.problem = chain(error);
            }
        });
        let (state, last) = {
            let standing = self.standing.borrow();
            (standing.state, standing.seen.then_some(standing.last))
        };
        if state == StreamState::Unreachable
            && let Some(last) = last
            && let Ok(Ok((head, oldest))) =
                tokio::time::timeout(PATIENCE, inspect::waiting(&self.pool, last)).await
        {
            self.note(head, last, oldest);
            self.set(|standing| standing.oldest_unpublished = oldest);
        }
    }

    /// Figures for people; digits beyond 2^53 do not matter.
    fn note(&self, head: Revision, last: Revision, oldest: Option<Duration>) {
        ::metrics::gauge!(metrics::STREAM_REVISION).set(last.0 as f64);
        ::metrics::gauge!(metrics::OUTBOX_UNPUBLISHED).set(head.0.saturating_sub(last.0) as f64);
        ::metrics::gauge!(metrics::OUTBOX_OLDEST_SECONDS).set(oldest.unwrap_or_default().as_secs_f64());
    }

    fn set(&self, change: impl FnOnce(&mut Standing)) {
        self.standing.send_modify(change);
    }
}

async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}
