//! One step of a job: one transaction.

use proto::event::{AccountChange, AccountOp, EdgeKey, EdgeKind, MAX_EDGES, Verb};
use proto::{Position, Token, UserId};
use service_kit::telemetry::chain;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::Cursor;
use crate::domain::{
    AccountState, Change, Graph, JobKind, NewJob, Touches, accept_step, archive_step, erase_step,
    replace_step, restore_step,
};
use crate::journal::Journal;
use crate::store::chunks::{self, Chunk};
use crate::store::head::{self, Head};
use crate::store::jobs::{self, Job};
use crate::store::{load, save, within};

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
        /// How the job ended, if it did.
        ended: Option<&'static str>,
        /// The head after it, if there was an event.
        head: Option<Token>,
    },
}

/// Takes the job that has waited longest one step further.
pub async fn next(pool: &PgPool, limit: usize) -> Result<Outcome, sqlx::Error> {
    let mut connection = service_kit::postgres::acquire(pool).await?;
    let Some(job) = within(jobs::next(&mut connection)).await? else { return Ok(Outcome::Nothing) };
    let (Some(kind), Some(user)) = (JobKind::named(&job.kind), UserId::new(job.user_id)) else {
        return Ok(Outcome::Nothing);
    };
    if job.total == 0 && job.done == 0 {
        // Outside of the lock: it may take a while. The number is for people only, so the job goes on without.
        if let Err(error) = within(note_total(&mut connection, kind, &job)).await {
            tracing::info!(job_id = %job.job_id, error = %chain(&error), "the edges of a job were not counted");
        }
    }
    let outcome = locked_step(&mut connection, kind, user, job.job_id, limit).await;
    if outcome.is_err() {
        // Perhaps it fails each time; the others do not wait behind it.
        let _ = within(jobs::put_back(&mut connection, job.job_id)).await;
    }
    outcome
}

async fn locked_step(
    connection: &mut PgConnection,
    kind: JobKind,
    user: UserId,
    job_id: Uuid,
    limit: usize,
) -> Result<Outcome, sqlx::Error> {
    let mut transaction = within(head::begin_locked(connection)).await?;
    let outcome = within(step(&mut transaction, kind, user, job_id, limit)).await?;
    // Should the reply be lost: the job's row tells where it stands.
    within(transaction.commit()).await?;
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
    kind: JobKind,
    user: UserId,
    job_id: Uuid,
    limit: usize,
) -> Result<Outcome, sqlx::Error> {
    // It may have been superseded, or gone on by another worker, since it was found.
    let Some(job) = jobs::get(connection, job_id).await?.filter(|job| job.state == "running") else {
        return Ok(Outcome::Nothing);
    };
    // A replacement sees the whole list at each step, so it takes few and large ones.
    let limit = if kind == JobKind::ReplaceFollowing { MAX_EDGES } else { limit };
    let cursor = job.cursor.as_deref().and_then(Cursor::decode);
    let (head, mut graph, chunk) = load_chunk(connection, kind, user, cursor.as_ref(), limit).await?;
    let Some(plan) = plan(kind, user, &graph, head, chunk, cursor, limit) else {
        jobs::fail(connection, job_id, jobs::OVERTAKEN).await?;
        let kind = kind.name();
        return Ok(Outcome::Stepped { kind, edges: 0, ended: Some("failed"), head: None });
    };
    let mut journal = Journal::after(head);
    let last = plan.cursor.is_none();
    if !plan.changes.is_empty() || !plan.accounts.is_empty() || plan.reactivates {
        journal
            .append(&mut graph, plan.verb, Some(user), &plan.changes, &plan.accounts, None)
            .map_err(|error| sqlx::Error::Decode(error.into()))?;
        if plan.reactivates {
            graph.reactivate(user);
        }
        save::save(connection, &graph, &journal, Uuid::new_v4()).await?;
    }
    if last {
        follow_up(connection, kind, user, &graph, head).await?;
    }
    let edges = i64::try_from(plan.edges).unwrap_or(i64::MAX);
    jobs::go_on(connection, job_id, edges, plan.cursor.as_ref(), head.now).await?;
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
            let job = NewJob { kind: JobKind::MakePublic, user, targets: Vec::new(), total: 0 };
            jobs::insert(connection, Uuid::new_v4(), &job, None, head.now).await
        }
        // The id is new from now on: whoever has it next was asked for by nobody, and has asked for nothing.
        JobKind::Erase => {
            jobs::supersede(connection, user, JobKind::ReplaceFollowing, head.now).await?;
            jobs::forget_target(connection, user).await
        }
        _ => Ok(()),
    }
}

/// What the step is decided on: the chunk, its edges, the accounts at their ends.
async fn load_chunk(
    connection: &mut PgConnection,
    kind: JobKind,
    user: UserId,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<(Head, Graph, Chunk), sqlx::Error> {
    let id = user.uuid();
    let chunk = match (kind, cursor) {
        (JobKind::MakePublic, Some(Cursor::Live(after))) => {
            chunks::requests(connection, id, *after, limit).await?
        }
        (JobKind::MakePublic, _) => chunks::requests(connection, id, Position(0), limit).await?,
        (JobKind::ReplaceFollowing, _) => Chunk::default(),
        (_, Some(Cursor::Archived(after))) => chunks::archived(connection, id, *after, limit).await?,
        (JobKind::Restore, _) => chunks::archived(connection, id, Position(0), limit).await?,
        (_, Some(Cursor::Live(after))) => chunks::live(connection, id, *after, limit).await?,
        (_, _) => chunks::live(connection, id, Position(0), limit).await?,
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
    if let Some(Cursor::Targets(targets)) = cursor {
        touches.following_of.insert(user);
        targets.iter().for_each(|target| touches.follow(user, *target));
    }
    let (head, graph) = load::load(connection, &touches).await?;
    Ok((head, graph, chunk))
}

/// Decides a step; none if the job was overtaken by a command.
fn plan(
    kind: JobKind,
    user: UserId,
    graph: &Graph,
    head: Head,
    chunk: Chunk,
    cursor: Option<Cursor>,
    limit: usize,
) -> Option<Plan> {
    let account = graph.account(user);
    let keys: &[EdgeKey] = &chunk.keys;
    let size = keys.len();
    let more = size == limit;
    match (kind, account.state) {
        (JobKind::Archive, AccountState::Archived) => {
            let next = more.then_some(Cursor::Live(chunk.last));
            Some(Plan::new(Verb::ArchiveAccount, archive_step(keys), size, next))
        }
        (JobKind::Restore, AccountState::Restoring) => {
            let changes = restore_step(graph, keys, head.now);
            let next = more.then_some(Cursor::Archived(chunk.last));
            Some(Plan { reactivates: !more, ..Plan::new(Verb::RestoreAccount, changes, size, next) })
        }
        (JobKind::Erase, AccountState::Erasing) => {
            let changes = erase_step(graph, keys);
            let next = match cursor {
                Some(Cursor::Archived(_)) => more.then_some(Cursor::Archived(chunk.last)),
                _ if more => Some(Cursor::Live(chunk.last)),
                _ => Some(Cursor::Archived(Position(0))),
            };
            let erased = next.is_none().then_some(AccountChange { user, op: AccountOp::Erased });
            let accounts = erased.into_iter().collect();
            Some(Plan { accounts, ..Plan::new(Verb::EraseAccount, changes, size, next) })
        }
        (JobKind::MakePublic, AccountState::Active) if !account.private => {
            let next = more.then_some(Cursor::Live(chunk.last));
            Some(Plan::new(Verb::AcceptFollowRequest, accept_step(graph, keys), size, next))
        }
        (JobKind::ReplaceFollowing, AccountState::Active) => {
            let Some(Cursor::Targets(targets)) = cursor else { return None };
            let changes = replace_step(graph, user, &targets, limit);
            let size = changes.len();
            // One less than the limit may be all that was not parted.
            let next = (size + 1 >= limit).then_some(Cursor::Targets(targets));
            Some(Plan::new(Verb::ReplaceFollowing, changes, size, next))
        }
        _ => None,
    }
}
