//! Opens the read model: decides, before the first event, whether the server holds our data, who writes, and whether
//! the checkpoint belongs to the history in PostgreSQL.
//!
//! If PostgreSQL is down, a complete read model is opened as it is, because it can serve; the first step of the sweep
//! makes the checks that are missing. A server with data of another program is left untouched.
//!
//! If PostgreSQL has been behind the read model for minutes it has lost commits: the read model stays as it is, and not
//! ready, until an operator opens another epoch or PostgreSQL commits other events at these revisions.

use std::cmp::Ordering;
use std::time::Duration;

use event_log::LogPosition;
use proto::{Revision, Token};
use service_kit::postgres::{SharedSession, is_shared_session, problem};
use service_kit::with_timeout;
use tokio::time::Instant;
use uuid::Uuid;

use super::failure::{Failure, TRUTH_AWAY};
use super::shared::Shared;
use crate::graph::{self, Checkpoint, Content};
use crate::metrics::RESETS;
use crate::truth::Truth;

/// Timeout of PostgreSQL. A host that vanished does not refuse connections.
const TRUTH_TIMEOUT: Duration = Duration::from_secs(10);

/// What the next session must do first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Become the writer.
    TakeOver,
    /// Continue as the writer.
    Continue,
    /// Continue as the writer, and set the checkpoint to the head.
    Reset(&'static str),
}

/// A read model that this process may write.
pub(super) struct Opened {
    pub(super) checkpoint: Checkpoint,
    /// The head at that time. A read model that has reached it follows.
    pub(super) head: Revision,
    /// PostgreSQL was down: neither its schema nor its history was checked.
    pub(super) unchecked: bool,
}

pub(super) async fn open(shared: &Shared, opening: Opening) -> Result<Opened, Failure> {
    match open_checked(shared, opening).await {
        Err(Failure::Retry { cause: TRUTH_AWAY, reason }) => match open_unchecked(shared, opening).await {
            Ok(opened) => opened.ok_or(Failure::Retry { cause: TRUTH_AWAY, reason }),
            Err(failure) => Err(failure.and(&reason)),
        },
        outcome => outcome,
    }
}

/// Opens a complete read model that need not be reset; `None` for others.
async fn open_unchecked(shared: &Shared, opening: Opening) -> Result<Option<Opened>, Failure> {
    let complete = match shared.replica.look().await? {
        Content::Ours(found) => found.cursor.complete,
        Content::Nothing => false,
        Content::Foreign => return Err(graph::Error::Foreign.into()),
    };
    if !complete || matches!(opening, Opening::Reset(_)) {
        return Ok(None);
    }
    let checkpoint = acquire(shared, opening).await?;
    let head = checkpoint.position.revision;
    tracing::warn!(revision = head.0, "PostgreSQL is down: opened the read model without checks");
    Ok(Some(Opened { checkpoint, head, unchecked: true }))
}

async fn open_checked(shared: &Shared, opening: Opening) -> Result<Opened, Failure> {
    let (replica, truth) = (&shared.replica, &shared.sources.truth);
    in_time(check_schema(truth)).await?;
    let database = in_time(truth.database_id()).await?;
    let found = match replica.look().await? {
        Content::Foreign => return Err(graph::Error::Foreign.into()),
        Content::Nothing => {
            replica.prepare_schema().await?;
            // Start at the head, not at the first event: the sweep adds the older edges.
            let head = in_time(truth.head()).await?;
            tracing::info!(revision = head.revision.0, "empty read model: starting at the head");
            let created = replica.create(head, database).await?;
            if replica.owns(&created) {
                created
            } else {
                // Another projector created it first.
                acquire(shared, opening).await?
            }
        }
        Content::Ours(_) => {
            let found = acquire(shared, opening).await?;
            replica.prepare_schema().await?;
            found
        }
    };
    // Read after the checkpoint, so that the head is not older than what the checkpoint holds.
    let head = in_time(truth.head()).await?;
    let cause = match opening {
        Opening::Reset(cause) => Some(cause),
        Opening::TakeOver | Opening::Continue => stray(shared, &found, head, database).await?,
    };
    let checkpoint = match cause {
        None if found.database.is_none() => replica.name_database(database).await?,
        None => found,
        Some(cause) => {
            metrics::counter!(RESETS, "cause" => cause).increment(1);
            tracing::warn!(
                cause,
                from = found.position.revision.0,
                to = head.revision.0,
                "setting the checkpoint to the head; the sweep repairs what is there"
            );
            replica.reset(head, database).await?
        }
    };
    tracing::info!(
        epoch = checkpoint.position.epoch.0,
        revision = checkpoint.position.revision.0,
        head = head.revision.0,
        complete = checkpoint.cursor.complete,
        "read model open"
    );
    Ok(Opened { checkpoint, head: head.revision, unchecked: false })
}

async fn acquire(shared: &Shared, opening: Opening) -> Result<Checkpoint, Failure> {
    match opening {
        Opening::TakeOver => Ok(shared.replica.take_over().await?),
        Opening::Continue | Opening::Reset(_) => {
            let found = shared.replica.settle().await?;
            let known = shared.sources.board.applied();
            let went_back = Token::new(found.position.epoch, found.position.revision) < known;
            Ok(if went_back { shared.replica.renew().await? } else { found })
        }
    }
}

/// Why a checkpoint does not belong to the history in PostgreSQL, if it does not.
async fn stray(
    shared: &Shared,
    found: &Checkpoint,
    head: LogPosition,
    database: Uuid,
) -> Result<Option<&'static str>, Failure> {
    // An event that is applied in part must be in the history as well.
    let position = found.partial.unwrap_or(found.position);
    if position.epoch != head.epoch {
        return Ok(Some("epoch"));
    }
    if found.database.is_some_and(|found| found != database) {
        return Ok(Some("database"));
    }
    if !shared.lag.tolerates(position.revision, head.revision, Instant::now()) {
        return Err(Failure::lost_commits(position.revision, head.revision));
    }
    let in_history = match position.revision.cmp(&head.revision) {
        Ordering::Equal => head.event_id,
        // The outbox may not hold the revision any more. Then the feed checks that the next event follows it.
        _ => {
            let read = shared.sources.truth.event_id(position.epoch, position.revision);
            in_time(read).await?.or(position.event_id)
        }
    };
    Ok((in_history != position.event_id).then_some("contradicted"))
}

async fn in_time<T, E: Into<Failure>>(read: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
    let unanswered = || Failure::retry(TRUTH_AWAY, anyhow::anyhow!("PostgreSQL does not answer"));
    with_timeout(TRUTH_TIMEOUT, async { read.await.map_err(Into::into) }, unanswered).await
}

/// Fails unless PostgreSQL has the schema that this program needs.
pub(super) async fn check_schema(truth: &Truth) -> Result<(), Failure> {
    match truth.check_schema().await {
        Ok(()) => Ok(()),
        Err(migrations::Error::Postgres(error)) if is_shared_session(&error) => {
            Err(Failure::retry("session", SharedSession))
        }
        Err(migrations::Error::Postgres(error)) => {
            Err(Failure::Retry { cause: TRUTH_AWAY, reason: problem(&error) })
        }
        // A migration may be under way, or an operator may repair one.
        Err(error) => Err(Failure::retry("schema", error)),
    }
}
