//! One step of a job: one transaction.

use proto::event::{AccountChange, AccountOp, EdgeKey, EdgeKind, Verb};
use proto::{Position, UserId};
use service_kit::ids;
use service_kit::telemetry::chain;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::outcome::{Failed, Outcome};
use super::plan::Plan;
use super::replace::{self, OpenPairs};
use crate::clock::DatabaseClock;
use crate::committer::Journal;
use crate::domain::{
    AccountState, Graph, JobKind, NewJob, Touches, accept_step, archive_step, erase_step, restore_step,
};
use crate::store::chunks::{self, Chunk};
use crate::store::head::{self, Head};
use crate::store::job_cursor::{Cursor, Phase};
use crate::store::jobs::{self, Job};
use crate::store::{finish, load, save, within};

/// Executes a step of the job that has waited longest, except the `paused` ones; `None` if there is no job.
pub async fn next(
    pool: &PgPool,
    clock: &DatabaseClock,
    limit: usize,
    paused: &[Uuid],
) -> sqlx::Result<Option<(Uuid, Result<Outcome, Failed>)>> {
    let mut connection = service_kit::postgres::acquire(pool).await?;
    let Some(job) = within(jobs::next(&mut connection, paused)).await? else { return Ok(None) };
    let (Some(kind), Some(user)) = (JobKind::named(&job.kind), UserId::new(job.user_id)) else {
        return Ok(None);
    };
    // The command has counted the edges of a replacement.
    if job.total == 0 && job.done == 0 && kind != JobKind::ReplaceFollowing {
        // Without the lock: it may take a while. Only GetJob shows the number, so the job continues without it.
        let counted = within(async {
            let total = count(&mut connection, kind, &job).await?;
            jobs::set_total(&mut connection, job.job_id, total).await
        });
        if let Err(error) = counted.await {
            tracing::info!(job_id = %job.job_id, error = %chain(&error), "cannot count the edges of a job");
        }
    }
    let outcome = locked_step(&mut connection, clock, kind, user, &job, limit).await;
    Ok(Some((job.job_id, outcome)))
}

async fn locked_step(
    connection: &mut PgConnection,
    clock: &DatabaseClock,
    kind: JobKind,
    user: UserId,
    job: &Job,
    limit: usize,
) -> Result<Outcome, Failed> {
    let in_step = |error| Failed::in_step(kind, error);
    let open = match kind {
        JobKind::ReplaceFollowing => {
            Some(replace::look_ahead(connection, job, limit).await.map_err(in_step)?)
        }
        _ => None,
    };
    let mut transaction =
        within(head::begin_locked(connection)).await.map_err(|error| Failed::in_lock(kind, error))?;
    let outcome = within(step(&mut transaction, clock, kind, user, job, open, limit)).await;
    // If the reply is lost, the job's row still shows whether the step was committed.
    finish(transaction, outcome).await.map_err(in_step)
}

async fn count(connection: &mut PgConnection, kind: JobKind, job: &Job) -> sqlx::Result<i64> {
    match kind {
        JobKind::MakePublic => jobs::count_requests(connection, job.user_id).await,
        JobKind::ReplaceFollowing => Ok(job.total),
        JobKind::Archive => jobs::count_edges(connection, job.user_id).await.map(|(live, _)| live),
        JobKind::Restore => jobs::count_edges(connection, job.user_id).await.map(|(_, archived)| archived),
        JobKind::Erase => {
            jobs::count_edges(connection, job.user_id).await.map(|(live, archived)| live + archived)
        }
    }
}

async fn step(
    connection: &mut PgConnection,
    clock: &DatabaseClock,
    kind: JobKind,
    user: UserId,
    before: &Job,
    open: Option<OpenPairs>,
    limit: usize,
) -> sqlx::Result<Outcome> {
    let (job_id, cursor) = (before.job_id, before.cursor());
    // A command may have superseded the job, or another worker continued it, since it was found.
    let job = jobs::get(connection, job_id).await?;
    if !job.is_some_and(|job| job.state == jobs::State::Running && job.cursor() == cursor) {
        return Ok(Outcome::Nothing);
    }
    let (head, mut graph, plan) = match open {
        Some(open) => replace::plan(connection, before, user, open).await?,
        None => {
            let (head, graph, chunk) = load_chunk(connection, kind, user, cursor, limit).await?;
            // While the clock is not trusted, expired mutes are restored too; the expiry removes them later.
            let now = match kind {
                JobKind::Restore => {
                    clock.trusted_now(connection).await?.unwrap_or(OffsetDateTime::UNIX_EPOCH)
                }
                _ => head.now,
            };
            let plan = plan(kind, user, &graph, now, chunk, cursor, limit);
            (head, graph, plan)
        }
    };
    let Some(plan) = plan else {
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
    jobs::record_step(connection, job_id, edges, plan.cursor, head.now).await?;
    Ok(Outcome::Stepped {
        kind: kind.name(),
        edges: edges.unsigned_abs(),
        ended: last.then_some("done"),
        head: (!journal.entries.is_empty()).then(|| journal.token()),
    })
}

/// Jobs to start or to end when a job is done.
async fn follow_up(
    connection: &mut PgConnection,
    kind: JobKind,
    user: UserId,
    graph: &Graph,
    head: Head,
) -> sqlx::Result<()> {
    let account = graph.account(user);
    match kind {
        // Pending requests to a public account: the job that accepts them ended when the account was archived.
        JobKind::Restore if !account.private && account.requests_received > 0 => {
            let running = jobs::running(connection, std::iter::once(&user)).await?;
            if running.iter().any(|((_, kind), _)| *kind == JobKind::MakePublic) {
                return Ok(());
            }
            let job = NewJob { kind: JobKind::MakePublic, user, prepared: None, total: 0 };
            jobs::insert(connection, ids::random(), &job, None, head.now).await
        }
        // From now on the id is that of a new account, which no earlier list may change or contain. A trigger removes
        // it from the lists of other jobs.
        JobKind::Erase => jobs::supersede(connection, user, JobKind::ReplaceFollowing, None, head.now).await,
        _ => Ok(()),
    }
}

/// Loads the next chunk of edges, and the accounts at their ends.
async fn load_chunk(
    connection: &mut PgConnection,
    kind: JobKind,
    user: UserId,
    cursor: Option<Cursor>,
    limit: usize,
) -> sqlx::Result<(Head, Graph, Chunk)> {
    let after = cursor.map_or(Position(0), |cursor| cursor.after);
    let archived = match cursor {
        Some(cursor) => cursor.phase == Phase::Archived,
        None => kind == JobKind::Restore,
    };
    let sql = match kind {
        JobKind::MakePublic => chunks::REQUESTS,
        _ if archived => chunks::ARCHIVED,
        _ => chunks::LIVE,
    };
    let chunk = chunks::read(connection, sql, user.uuid(), after, limit).await?;
    let mut touches = Touches::default();
    touches.accounts.insert(user);
    for key in &chunk.keys {
        touches.edge(*key);
        if key.kind == EdgeKind::FollowRequest {
            touches.follow(key.source, key.target);
        }
    }
    let (head, graph) = load::load(connection, &touches).await?;
    Ok((head, graph, chunk))
}

/// Decides a step; `None` if a command has overtaken the job.
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
    let [live, archived] =
        [Phase::Live, Phase::Archived].map(|phase| Cursor { after: chunk.last, ..Cursor::start(phase) });
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
