//! Opening the read model.
//!
//! Owns: what is decided before the first event: is the server ours, empty or foreign; who writes; does the checkpoint
//! belong to the history that the source of truth tells. Must not know: how events are applied.
//! A complete read model is opened also while the source of truth is away: it can serve. The first step of the sweep asks
//! then what was not asked here.
//! What can go wrong: a server with data of somebody else is left untouched, and the projector is not ready. A read model
//! that is ahead of PostgreSQL for minutes is left as it is, and not ready: the database has lost commits, and an operator
//! will open another epoch, or commits will come that contradict ours.

use std::cmp::Ordering;
use std::time::Duration;

use event_log::LogPosition;
use proto::Revision;
use service_kit::postgres::{NoSession, problem, says_no_session};
use service_kit::with_timeout;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Engine, Failure, Opening, TRUTH_AWAY};
use crate::graph::{self, Checkpoint, Content};
use crate::metrics::RESETS;
use crate::truth::Truth;

/// Longest wait for an answer of the source of truth: one that is gone without a word is away.
const TRUTH_PATIENCE: Duration = Duration::from_secs(10);

/// A read model that may be written.
pub(super) struct Opened {
    /// Where it stands.
    pub checkpoint: Checkpoint,
    /// The head at that time: whoever has reached it follows.
    pub head: Revision,
    /// The source of truth was away: neither its schema nor its history was looked at.
    pub unasked: bool,
}

impl Engine {
    pub(super) async fn open(&self, opening: Opening) -> Result<Opened, Failure> {
        match self.open_asking(opening).await {
            Err(Failure::Retry { cause: TRUTH_AWAY, reason }) => match self.open_unasked(opening).await {
                Ok(opened) => opened.ok_or(Failure::Retry { cause: TRUTH_AWAY, reason }),
                Err(failure) => Err(failure.and(&reason)),
            },
            outcome => outcome,
        }
    }

    /// A read model that was complete and need not be set to the head can serve without its source.
    async fn open_unasked(&self, opening: Opening) -> Result<Option<Opened>, Failure> {
        let complete = match self.replica.look().await? {
            Content::Ours(found) => found.cursor.complete,
            Content::Nothing => false,
            Content::Foreign => return Err(graph::Error::Foreign.into()),
        };
        if !complete || matches!(opening, Opening::Reset(_)) {
            return Ok(None);
        }
        let checkpoint = self.acquire(opening).await?;
        let head = checkpoint.position.revision;
        tracing::warn!(revision = head.0, "PostgreSQL is away: the read model is opened as it was left");
        Ok(Some(Opened { checkpoint, head, unasked: true }))
    }

    async fn open_asking(&self, opening: Opening) -> Result<Opened, Failure> {
        let truth = &self.sources.truth;
        in_time(check_schema(truth)).await?;
        let database = in_time(truth.database_id()).await?;
        let found = match self.replica.look().await? {
            Content::Foreign => return Err(graph::Error::Foreign.into()),
            Content::Nothing => {
                self.replica.prepare_schema().await?;
                // The present, not the beginning: the sweep brings what is older.
                let head = in_time(truth.head()).await?;
                tracing::info!(revision = head.revision.0, "empty read model: starting at the head");
                let created = self.replica.create(head, database).await?;
                if self.replica.owns(&created) {
                    created
                } else {
                    // Another was faster.
                    self.acquire(opening).await?
                }
            }
            Content::Ours(_) => {
                let found = self.acquire(opening).await?;
                self.replica.prepare_schema().await?;
                found
            }
        };
        // After the checkpoint: nothing that it holds was committed later.
        let head = in_time(truth.head()).await?;
        let cause = match opening {
            Opening::Reset(cause) => Some(cause),
            Opening::TakeOver | Opening::GoOn => self.stray(&found, head, database).await?,
        };
        let checkpoint = match cause {
            None if found.database.is_none() => self.replica.name_database(database).await?,
            None => found,
            Some(cause) => {
                metrics::counter!(RESETS, "cause" => cause).increment(1);
                tracing::warn!(
                    cause,
                    from = found.position.revision.0,
                    to = head.revision.0,
                    "setting the checkpoint to the head; the sweep repairs what is there"
                );
                self.replica.reset(head, database).await?
            }
        };
        tracing::info!(
            epoch = checkpoint.position.epoch.0,
            revision = checkpoint.position.revision.0,
            head = head.revision.0,
            complete = checkpoint.cursor.complete,
            "read model open"
        );
        Ok(Opened { checkpoint, head: head.revision, unasked: false })
    }

    async fn acquire(&self, opening: Opening) -> Result<Checkpoint, Failure> {
        match opening {
            Opening::TakeOver => Ok(self.replica.take_over().await?),
            Opening::GoOn | Opening::Reset(_) => Ok(self.replica.settle().await?),
        }
    }

    /// Why a checkpoint does not belong to the history of the source of truth, if so.
    async fn stray(
        &self,
        found: &Checkpoint,
        head: LogPosition,
        database: Uuid,
    ) -> Result<Option<&'static str>, Failure> {
        // The history must have the event of which a part is applied, too.
        let position = found.partial.unwrap_or(found.position);
        if position.epoch != head.epoch {
            return Ok(Some("epoch"));
        }
        if found.database.is_some_and(|found| found != database) {
            return Ok(Some("database"));
        }
        if !self.lag.tolerates(position.revision, head.revision, Instant::now()) {
            return Err(Failure::lost_commits(position.revision, head.revision));
        }
        let there = match position.revision.cmp(&head.revision) {
            Ordering::Equal => head.event_id,
            // Nothing is known of a revision that the outbox does not hold; the feed checks that it goes on from it.
            _ => in_time(self.sources.truth.event_id(position.epoch, position.revision))
                .await?
                .or(position.event_id),
        };
        Ok((there != position.event_id).then_some("contradicted"))
    }
}

async fn in_time<T, E: Into<Failure>>(read: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
    let unanswered = || Failure::retry(TRUTH_AWAY, anyhow::anyhow!("PostgreSQL does not answer"));
    with_timeout(TRUTH_PATIENCE, async { read.await.map_err(Into::into) }, unanswered).await
}

/// Refuses a database that this program does not fit.
pub(super) async fn check_schema(truth: &Truth) -> Result<(), Failure> {
    match truth.check_schema().await {
        Ok(()) => Ok(()),
        Err(migrations::Error::Postgres(error)) if says_no_session(&error) => {
            Err(Failure::retry("session", NoSession))
        }
        Err(migrations::Error::Postgres(error)) => {
            Err(Failure::Retry { cause: TRUTH_AWAY, reason: problem(&error) })
        }
        // The migration, or the operator who repairs one, may be on the way.
        Err(error) => Err(Failure::retry("schema", error)),
    }
}
