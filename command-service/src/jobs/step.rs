//! One step of a job: one transaction.

use proto::event::{AccountChange, AccountOp, EdgeKey, EdgeKind, Verb};
use proto::{Position, Token, UserId};
use service_kit::ids;
use service_kit::telemetry::chain;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::replace;
use crate::clock::DatabaseClock;
use crate::committer::Journal;
use crate::domain::{
    AccountState, Change, Graph, JobKind, NewJob, Touches, accept_step, archive_step, erase_step,
    restore_step,
};
use crate::store::chunks::{self, Chunk};
use crate::store::head::{self, Head};
use crate::store::job_cursor::{Cursor, Phase};
use crate::store::jobs::{self, Job};
use crate::store::{give_up, is_timeout, is_transient, load, save, within};

/// What a step came to.
pub enum Outcome {
    /// There is nothing to do.
    Nothing,
    /// A job went on.
    Stepped {
        /// What the job does.
        kind: &'static str,
        /// How many edges it dealt with.
        edges: u64,
        /// How the job ended, if it did: for the metric. To callers, one that was overtaken has failed.
        ended: Option<&'static str>,
        /// The head after it, if there was an event.
        head: Option<Token>,
    },
}

/// A step that did not succeed.
#[derive(Debug)]
pub struct Failed {
    /// What the job does.
    pub kind: JobKind,
    /// The statement's error.
    pub error: sqlx::Error,
    waited: bool,
}

impl Failed {
    fn new(kind: JobKind, error: sqlx::Error, waited: bool) -> Self {
        Self { kind, error, waited }
    }

    /// A step of a replacement failed.
    pub fn of_step(error: sqlx::Error) -> Self {
        Self::new(JobKind::ReplaceFollowing, error, false)
    }

    /// A step of a replacement did not get the lock on the head.
    pub fn of_lock(error: sqlx::Error) -> Self {
        Self::new(JobKind::ReplaceFollowing, error, true)
    }

    /// The step would fail again. A database that is away, or a lock on the head that others hold, is not the job's fault.
    pub fn counts(&self) -> bool {
        !self.waited && (is_timeout(&self.error) || !is_transient(&self.error))
    }

    /// For the metric.
    pub fn cause(&self) -> &'static str {
        match &self.error {
            _ if self.waited => "head_lock",
            error if is_timeout(error) => "timeout",
            error if is_transient(error) => "database_away",
            _ => "error",
        }
    }
}

/// Takes the job that has waited longest one step further; none if there is no job to do.
pub async fn next(
    pool: &PgPool,
    clock: &DatabaseClock,
    limit: usize,
    resting: &[Uuid],
) -> Result<Option<(Uuid, Result<Outcome, Failed>)>, sqlx::Error> {
    let mut connection = service_kit::postgres::acquire(pool).await?;
    let Some(job) = within(jobs::next(&mut connection, resting)).await? else { return Ok(None) };
    let (Some(kind), Some(user)) = (JobKind::named(&job.kind), UserId::new(job.user_id)) else {
        return Ok(None);
    };
    if kind == JobKind::ReplaceFollowing {
        let outcome = replace::step(&mut connection, &job, user, limit).await;
        return Ok(Some((job.job_id, outcome)));
    }
    if job.total == 0 && job.done == 0 {
        // Outside of the lock: it may take a while. The number is for people only, so the job goes on without.
        if let Err(error) = within(note_total(&mut connection, kind, &job)).await {
            tracing::info!(job_id = %job.job_id, error = %chain(&error), "the edges of a job were not counted");
        }
    }
    let outcome = locked_step(&mut connection, clock, kind, user, job.job_id, limit).await;
    Ok(Some((job.job_id, outcome)))
}

async fn locked_step(
    connection: &mut PgConnection,
    clock: &DatabaseClock,
    kind: JobKind,
    user: UserId,
    job_id: Uuid,
    limit: usize,
) -> Result<Outcome, Failed> {
    let failed = |waited| move |error| Failed::new(kind, error, waited);
    let mut transaction = within(head::begin_locked(connection)).await.map_err(failed(true))?;
    let stepped = within(step(&mut transaction, clock, kind, user, job_id, limit)).await;
    let outcome = match stepped {
        Ok(outcome) => outcome,
        Err(error) => return Err(failed(false)(give_up(transaction, error).await)),
    };
    // Should the reply be lost: the job's row tells where it stands.
    within(transaction.commit()).await.map_err(failed(false))?;
    Ok(outcome)
}

async fn note_total(connection: &mut PgConnection, kind: JobKind, job: &Job) -> Result<(), sqlx::Error> {
    let total = count(connection, kind, job).await?;
    jobs::set_total(connection, job.job_id, total).await
}

async fn count(connection: &mut PgConnection, kind: JobKind, job: &Job) -> Result<i64, sqlx::Error> {
    let (live, archived) = match kind {
        JobKind::MakePublic => return jobs::count_requests(connection, job.user_id).await,
        // Counted when it was decided.
        JobKind::ReplaceFollowing => return Ok(job.total),
        JobKind::Erase | JobKind::Archive | JobKind::Restore => {
            jobs::count_edges(connection, job.user_id).await?
        }
    };
    Ok(match kind {
        JobKind::Archive => live,
        JobKind::Restore => archived,
        _ => live + archived,
    })
}

/// What a step does to the graph, and where the job goes on.
struct Plan {
    verb: Verb,
    changes: Vec<Change>,
    accounts: Vec<AccountChange>,
    /// How many edges were dealt with.
    edges: usize,
    /// None: the job is done.
    cursor: Option<Cursor>,
    /// The account takes part again.
    reactivates: bool,
}

impl Plan {
    fn new(verb: Verb, changes: Vec<Change>, edges: usize, cursor: Option<Cursor>) -> Self {
        Self { verb, changes, accounts: Vec::new(), edges, cursor, reactivates: false }
    }
}

async fn step(
    connection: &mut PgConnection,
    clock: &DatabaseClock,
    kind: JobKind,
    user: UserId,
    job_id: Uuid,
    limit: usize,
) -> Result<Outcome, sqlx::Error> {
    // It may have been superseded, or gone on by another worker, since it was found.
    let Some(job) = jobs::get(connection, job_id).await?.filter(|job| job.state == "running") else {
        return Ok(Outcome::Nothing);
    };
    let cursor = job.cursor();
    let (head, mut graph, chunk) = load_chunk(connection, kind, user, cursor, limit).await?;
    // While the clock is not trusted, a mute that may have run out comes back; the expiry ends it later.
    let now = match kind {
        JobKind::Restore => clock.trusted_now(connection).await?.unwrap_or(OffsetDateTime::UNIX_EPOCH),
        _ => head.now,
    };
    let Some(plan) = plan(kind, user, &graph, now, chunk, cursor, limit) else {
        jobs::fail(connection, job_id, jobs::OVERTAKEN).await?;
        let kind = kind.name();
        return Ok(Outcome::Stepped { kind, edges: 0, ended: Some("overtaken"), head: None });
    };
    let mut journal = Journal::after(head, ids::random);
    let last = plan.cursor.is_none();
    if !plan.changes.is_empty() || !plan.accounts.is_empty() || plan.reactivates {
        journal
            .append(&mut graph, plan.verb, Some(user), &plan.changes, &plan.accounts, None)
            .map_err(|error| sqlx::Error::Decode(error.into()))?;
        if plan.reactivates {
            graph.reactivate(user);
        }
        save::save(connection, &graph, &journal.entries, ids::random()).await?;
    }
    if last {
        follow_up(connection, kind, user, &graph, head).await?;
    }
    let edges = i64::try_from(plan.edges).unwrap_or(i64::MAX);
    jobs::go_on(connection, job_id, edges, plan.cursor, head.now).await?;
    Ok(Outcome::Stepped {
        kind: kind.name(),
        edges: edges.unsigned_abs(),
        ended: last.then_some("done"),
        head: (!journal.entries.is_empty()).then(|| journal.token()),
    })
}

/// What the end of a job leaves to others.
async fn follow_up(
    connection: &mut PgConnection,
    kind: JobKind,
    user: UserId,
    graph: &Graph,
    head: Head,
) -> Result<(), sqlx::Error> {
    let account = graph.account(user);
    match kind {
        // The job that accepts them ended when the account was archived, and they were restored before they were hidden.
        JobKind::Restore if !account.private && account.requests_received > 0 => {
            let running = jobs::running(connection, std::iter::once(&user)).await?;
            if running.iter().any(|((_, kind), _)| *kind == JobKind::MakePublic) {
                return Ok(());
            }
            let job = NewJob { kind: JobKind::MakePublic, user, prepared: None, total: 0 };
            jobs::insert(connection, ids::random(), &job, None, head.now).await
        }
        // The id is new from now on: whoever has it next was asked for by nobody, and has asked for nothing.
        JobKind::Erase => {
            // A trigger takes it out of the lists of other jobs.
            jobs::supersede(connection, user, JobKind::ReplaceFollowing, None, head.now).await
        }
        _ => Ok(()),
    }
}

/// What the step is decided on: the chunk, its edges, the accounts at their ends.
async fn load_chunk(
    connection: &mut PgConnection,
    kind: JobKind,
    user: UserId,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<(Head, Graph, Chunk), sqlx::Error> {
    let id = user.uuid();
    let after = cursor.map_or(Position(0), |cursor| cursor.after);
    let archived = match cursor {
        Some(cursor) => cursor.phase == Phase::Archived,
        None => kind == JobKind::Restore,
    };
    let chunk = if kind == JobKind::MakePublic {
        chunks::requests(connection, id, after, limit).await?
    } else if archived {
        chunks::archived(connection, id, after, limit).await?
    } else {
        chunks::live(connection, id, after, limit).await?
    };
    let mut touches = Touches::default();
    touches.accounts.insert(user);
    for key in &chunk.keys {
        touches.edges.insert(*key);
        touches.accounts.extend([key.source, key.target]);
        if key.kind == EdgeKind::FollowRequest {
            touches.follow(key.source, key.target);
        }
    }
    let (head, graph) = load::load(connection, &touches).await?;
    Ok((head, graph, chunk))
}

/// Decides a step; none if the job was overtaken by a command.
fn plan(
    kind: JobKind,
    user: UserId,
    graph: &Graph,
    now: OffsetDateTime,
    chunk: Chunk,
    cursor: Option<Cursor>,
    limit: usize,
) -> Option<Plan> {
    let account = graph.account(user);
    let keys: &[EdgeKey] = &chunk.keys;
    let size = keys.len();
    let more = size == limit;
    let [live, archived] = [Phase::Live, Phase::Archived].map(|phase| Cursor::start(phase).after(chunk.last));
    match (kind, account.state) {
        (JobKind::Archive, AccountState::Archived) => {
            let next = more.then_some(live);
            Some(Plan::new(Verb::ArchiveAccount, archive_step(keys), size, next))
        }
        (JobKind::Restore, AccountState::Restoring) => {
            let changes = restore_step(graph, keys, now);
            let next = more.then_some(archived);
            Some(Plan { reactivates: !more, ..Plan::new(Verb::RestoreAccount, changes, size, next) })
        }
        (JobKind::Erase, AccountState::Erasing) => {
            let changes = erase_step(graph, keys);
            let next = match cursor {
                Some(Cursor { phase: Phase::Archived, .. }) => more.then_some(archived),
                _ if more => Some(live),
                _ => Some(Cursor::start(Phase::Archived)),
            };
            let erased = next.is_none().then_some(AccountChange { user, op: AccountOp::Erased });
            let accounts = erased.into_iter().collect();
            Some(Plan { accounts, ..Plan::new(Verb::EraseAccount, changes, size, next) })
        }
        (JobKind::MakePublic, AccountState::Active) if !account.private => {
            let next = more.then_some(live);
            Some(Plan::new(Verb::AcceptFollowRequest, accept_step(graph, keys), size, next))
        }
        _ => None,
    }
}
