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
//! - The stream holds another history of our epoch (a fork): the relay records it in
//!   PostgreSQL and stops, no process is ready, and an operator must open a new epoch.
//! - Another stream holds the subjects: the relay waits for an operator's consent, and
//!   until no process serves that stream's epoch any more.
//! - PostgreSQL is a standby: the relay waits for its promotion.

mod acknowledged;
mod heartbeats;
mod inspect;
mod others;
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
pub use heartbeats::Heartbeats;
pub use recent::Recent;
pub use stream::Settings;

use crate::clock::DatabaseClock;
use crate::leadership::{Leadership, Role};
use crate::metrics;
use crate::store::head::{self, History};
use crate::store::within;
use inspect::{Found, Inspection};

/// How often the stream is compared with the outbox, also when all is quiet.
const INSPECTION: Duration = Duration::from_secs(1);
/// How often the connection is renewed to learn whether the server takes larger messages now.
const LIMIT_ASKED_AGAIN: Duration = Duration::from_secs(5);
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
    /// The fork that it shows is recorded in PostgreSQL.
    pub fork_recorded: bool,
    /// The epoch that this process speaks for on NATS: no other history was found to hold its subjects there.
    pub speaks_for: Option<Epoch>,
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
            fork_recorded: false,
            speaks_for: None,
        }
    }
}

/// What the relay cannot go on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL does not answer.
    #[error("cannot read the outbox")]
    Postgres(#[from] sqlx::Error),
    /// PostgreSQL takes no writes: whether its commits are the newest ones is not known.
    #[error("PostgreSQL is a standby or read-only: the relay waits until it takes writes")]
    Standby,
    /// A recovery came in between.
    #[error("another epoch has begun")]
    EpochChanged,
    /// NATS does not answer.
    #[error("NATS does not answer: {0}")]
    Nats(String),
    /// NATS does not take the stream.
    #[error("{0}")]
    Blocked(String),
    /// Neither failed nor answered: a machine that is gone, for instance.
    #[error("PostgreSQL or NATS does not answer in time")]
    TimedOut,
    /// The outbox continues another history than the stream.
    #[error("revision {0} does not follow the event that was published before it")]
    Unchained(Revision),
    /// The server's limit of messages is below an event.
    #[error(
        "the event of revision {revision} has {bytes} bytes and NATS takes no message of its size: set max_payload of \
         NATS to 1MB or more and reload it"
    )]
    TooLarge {
        /// The revision.
        revision: Revision,
        /// Without its headers.
        bytes: usize,
    },
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
    wiring: Wiring,
    /// Which epochs are in use.
    heartbeats: Heartbeats,
    /// Since when it is not known whether the outbox is published: the stream could not be looked at since the process
    /// started, nor since a recovery.
    unseen_since: Option<Instant>,
    /// The event that NATS does not take, and since when this connection was asked to be renewed for it.
    stuck: Option<Stuck>,
}

/// An event that is larger than NATS takes.
struct Stuck {
    problem: String,
    asked_at: Instant,
}

/// What the relay shares with the rest of its process.
pub struct Wiring {
    /// Told how the stream stands.
    pub standing: watch::Sender<Standing>,
    /// The check of the stream.
    pub latch: Latch,
    /// Fails while NATS's limit of messages is below the largest event.
    pub limits: Latch,
    /// Told of each new head, by the committer and by other replicas. The relay polls too.
    pub committed: watch::Receiver<Token>,
    /// What this process has just committed.
    pub recent: Recent,
    /// For how long events wait.
    pub clock: DatabaseClock,
}

impl Relay {
    /// A relay.
    pub fn new(pool: PgPool, client: async_nats::Client, settings: Settings, wiring: Wiring) -> Self {
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(Duration::from_secs(2));
        let heartbeats = Heartbeats::default();
        Self { pool, jetstream, settings, wiring, heartbeats, unseen_since: None, stuck: None }
    }

    /// What must listen while the relay runs.
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
                    // The session before may have ended with a failover that lost the newest commits: from here on,
                    // only what the outbox holds is published.
                    self.wiring.recent.clear();
                    ::metrics::gauge!(metrics::RELAY_LEADER).set(1.0);
                    self.lead(leadership, &stop).await;
                    ::metrics::gauge!(metrics::RELAY_LEADER).set(0.0);
                    self.set(|standing| standing.leader = false);
                }
                Ok(None) => self.look().await,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot ask for the relay's leadership");
                    self.look().await;
                }
            }
            pause(INSPECTION, &stop).await;
        }
        Ok(())
    }

    /// Looks without doing anything about it.
    async fn look(&mut self) {
        if let Err(error) = self.inspect().await {
            self.unreachable(&error).await;
        }
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

    /// A client learns of the server's limit when it connects, and of no change: so it has to connect again.
    async fn note_stuck(&mut self, error: &Error) {
        if !matches!(error, Error::TooLarge { .. }) {
            return;
        }
        let asked_at = match &self.stuck {
            Some(stuck) if stuck.asked_at.elapsed() < LIMIT_ASKED_AGAIN => stuck.asked_at,
            _ => {
                // It fails only if the client has ended.
                let _ = self.jetstream.client().force_reconnect().await;
                Instant::now()
            }
        };
        self.stuck = Some(Stuck { problem: error.to_string(), asked_at });
    }

    /// Looks, and does what is needed.
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
                let until = Instant::now() + INSPECTION;
                let context = publish::Context {
                    pool: &self.pool,
                    jetstream: &self.jetstream,
                    epoch: history.epoch,
                    recent: &self.wiring.recent,
                    standing: &self.wiring.standing,
                    clock: &self.wiring.clock,
                };
                context.publish_from(next, after, until, &mut self.wiring.committed, stop).await?;
            }
            Found::Stray { problem } => {
                tracing::error!(
                    problem,
                    "the stream holds what is not ours: making it again from the outbox"
                );
                ::metrics::counter!(metrics::STREAM_RECREATED).increment(1);
                stream::delete(&self.jetstream, &proto::subjects::stream_name(history.epoch)).await?;
            }
            Found::Blocked { .. } | Found::Fork { .. } => pause(INSPECTION, stop).await,
        }
        Ok(())
    }

    /// Compares the stream with the outbox and publishes how it stands within this process.
    async fn inspect(&mut self) -> Result<(History, Found), Error> {
        let inspection = tokio::time::timeout(PATIENCE, self.look_at_stream()).await;
        let inspection = inspection.map_err(|_| Error::TimedOut)??;
        self.check_limits();
        let (state, problem) = match &inspection.found {
            Found::Good { .. } if let Some(stuck) = &self.stuck => {
                (StreamState::Blocked, stuck.problem.clone())
            }
            Found::Good { .. } => (StreamState::Ok, String::new()),
            Found::Missing { .. } => (StreamState::Repairing, "the stream does not exist".to_owned()),
            Found::Stray { problem } => (StreamState::Repairing, problem.clone()),
            Found::Blocked { problem } => (StreamState::Blocked, problem.clone()),
            Found::Fork { problem } => (StreamState::Forked, problem.clone()),
        };
        match state {
            StreamState::Forked => {
                tracing::error!(problem, "the stream is of another history: the relay has stopped");
                self.wiring.latch.not_ready(&problem);
            }
            // What NATS does is no reason to refuse writes; only a fork is.
            _ => self.wiring.latch.ready(),
        }
        if matches!(inspection.found, Found::Blocked { .. }) {
            tracing::warn!(problem, "the relay has no stream of its own");
        }
        self.gauge(state);
        if let Some((_, last)) = inspection.stream {
            self.note(inspection.head.revision, last, inspection.oldest_unpublished);
        }
        self.set(|standing| {
            standing.name = proto::subjects::stream_name(inspection.head.epoch);
            standing.state = state;
            standing.problem.clone_from(&problem);
            standing.fork_recorded = inspection.history.fork.is_some();
            let ours = !matches!(inspection.found, Found::Blocked { .. });
            standing.speaks_for = ours.then_some(inspection.history.epoch);
            if let Some((first, last)) = inspection.stream {
                (standing.first, standing.last, standing.seen) = (first, last, true);
                standing.oldest_unpublished = inspection.oldest_unpublished;
            }
        });
        if inspection.stream.is_some() {
            self.unseen_since = None;
        }
        // Last: commands are refused here, whether or not it can be recorded.
        if state == StreamState::Forked && inspection.history.fork.is_none() {
            self.record_fork(inspection.history.epoch, &problem).await?;
        }
        Ok((inspection.history, inspection.found))
    }

    /// Asks PostgreSQL for the history, then NATS for its stream.
    async fn look_at_stream(&self) -> Result<Inspection, Error> {
        let mut connection = service_kit::postgres::acquire(&self.pool).await?;
        let history = inspect::history(&mut connection).await?;
        self.resume_after_fork(&history);
        inspect::inspect(&mut connection, history, &self.jetstream, &self.heartbeats).await
    }

    /// Takes commands again once PostgreSQL does not record the fork any more (an operator has opened a new epoch), also
    /// while NATS is away. A fork that could not be recorded stands until the stream was compared again.
    fn resume_after_fork(&self, history: &History) {
        if history.fork.is_some() || !shows_recorded_fork(&self.wiring.standing.borrow()) {
            return;
        }
        tracing::info!(epoch = history.epoch.0, "PostgreSQL records no fork any more");
        self.wiring.latch.ready();
        self.gauge(StreamState::Unspecified);
        // What was seen is the stream of another history.
        self.set(|standing| {
            *standing = Standing {
                name: proto::subjects::stream_name(history.epoch),
                leader: standing.leader,
                ..Standing::default()
            };
        });
    }

    /// So that it is known to all processes, and after a restart, also while NATS is away.
    async fn record_fork(&self, epoch: Epoch, problem: &str) -> Result<(), Error> {
        within(async {
            let mut connection = service_kit::postgres::acquire(&self.pool).await?;
            head::record_fork(&mut connection, epoch, problem).await
        })
        .await?;
        self.set(|standing| standing.fork_recorded = true);
        Ok(())
    }

    /// Before there is an event of that size.
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

    /// The stream cannot be looked at. What waits for it is still known, for as long as PostgreSQL answers.
    async fn unreachable(&mut self, error: &Error) {
        let state = match error {
            Error::Standby => StreamState::Standby,
            Error::Blocked(_) | Error::TooLarge { .. } => StreamState::Blocked,
            _ => StreamState::Unreachable,
        };
        // That a fork is over, only PostgreSQL's record says, or the stream.
        if self.wiring.standing.borrow().state == StreamState::Forked {
            return;
        }
        self.gauge(state);
        // Whether PostgreSQL answers, and takes writes, other checks say.
        self.wiring.latch.ready();
        self.set(|standing| {
            standing.state = state;
            standing.problem = chain(error);
        });
        let last = {
            let standing = self.wiring.standing.borrow();
            standing.seen.then_some(standing.last)
        };
        match last {
            Some(last) => {
                if let Ok(Ok((head, oldest))) =
                    tokio::time::timeout(PATIENCE, inspect::waiting(&self.pool, last)).await
                {
                    self.note(head, last, oldest);
                    self.set(|standing| standing.oldest_unpublished = oldest);
                }
            }
            None if state == StreamState::Unreachable => self.note_unseen().await,
            None => {}
        }
    }

    /// A process that has started while NATS is away does not know what is published. Events in the outbox may wait for
    /// as long as it knows nothing: an alert on their age must not end because a process was started again.
    async fn note_unseen(&mut self) {
        if let Ok(Ok(true)) = tokio::time::timeout(PATIENCE, inspect::has_events(&self.pool)).await {
            let since = *self.unseen_since.get_or_insert_with(Instant::now);
            ::metrics::gauge!(metrics::OUTBOX_OLDEST_SECONDS).set(since.elapsed().as_secs_f64());
        }
    }

    /// Figures for people; digits beyond 2^53 do not matter.
    fn note(&self, head: Revision, last: Revision, oldest: Option<Duration>) {
        ::metrics::gauge!(metrics::STREAM_REVISION).set(last.0 as f64);
        ::metrics::gauge!(metrics::OUTBOX_UNPUBLISHED).set(head.0.saturating_sub(last.0) as f64);
        ::metrics::gauge!(metrics::OUTBOX_OLDEST_SECONDS).set(oldest.unwrap_or_default().as_secs_f64());
    }

    fn set(&self, change: impl FnOnce(&mut Standing)) {
        self.wiring.standing.send_modify(change);
    }
}

/// A fork that PostgreSQL has recorded.
fn shows_recorded_fork(standing: &Standing) -> bool {
    standing.state == StreamState::Forked && standing.fork_recorded
}

async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}
