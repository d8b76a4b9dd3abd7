//! One attempt to commit a batch: a transaction that locks the head first.
//!
//! READ COMMITTED: with REPEATABLE READ the snapshot would be older than the lock, and the transaction would fail with
//! 40001 if another process has committed during the wait.

use std::collections::BTreeMap;

use proto::Revision;
use service_kit::ids;
use service_kit::trace::{Database, Parent, db};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::batch::{self, Decided, JobChange};
use super::queue::Unit;
use crate::clock::DatabaseClock;
use crate::domain::{
    AccountAction, AccountState, Answer, Body, Command, FollowCap, Graph, JobKind, RequestKey, RequestName,
    Touches,
};
use crate::store::head::Head;
use crate::store::replies::Reply;
use crate::store::{give_up, head, is_timeout, jobs, load, outbox, replies, save, within};

/// Result of an attempt.
pub enum Attempt {
    /// The batch is committed.
    Done(Decided),
    /// The batch was rolled back.
    Failed(sqlx::Error),
    /// The batch was rolled back after a timeout of a statement under the lock. A retry would time out again.
    TimedOut(sqlx::Error),
    /// Nothing was executed: PostgreSQL records a fork.
    Forked,
    /// The reply to COMMIT was lost.
    InDoubt(Decided, sqlx::Error),
}

/// Executes statements in a span below that of their batch.
async fn in_span<T>(
    operation: &'static str,
    parent: &Parent,
    work: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let span = db(Database::PostgreSql, operation, parent);
    span.finish(work.await)
}

/// Decides, writes and commits a batch.
pub async fn attempt(
    pool: &PgPool,
    units: &[Unit],
    batch_id: Uuid,
    follow_cap: FollowCap,
    clock: &DatabaseClock,
    parent: &Parent,
) -> Attempt {
    // It waits for a connection, too.
    let mut lock = db(Database::PostgreSql, "log_head.lock", parent);
    let mut connection = match service_kit::postgres::acquire(pool).await {
        Ok(connection) => connection,
        Err(error) => {
            lock.failed(&error.to_string());
            return Attempt::Failed(error);
        }
    };
    // Every return before COMMIT drops the transaction or gives it up, which rolls it back.
    let mut transaction = match lock.finish(within(head::begin_locked_for_commands(&mut connection)).await) {
        Ok(Some(transaction)) => transaction,
        Ok(None) => return Attempt::Forked,
        Err(error) => return Attempt::Failed(error),
    };
    let written = within(write(&mut transaction, units, batch_id, follow_cap, clock, parent)).await;
    let decided = match written {
        Ok(decided) => decided,
        Err(error) => {
            let error = give_up(transaction, error).await;
            return if is_timeout(&error) { Attempt::TimedOut(error) } else { Attempt::Failed(error) };
        }
    };
    match in_span("transaction.commit", parent, within(transaction.commit())).await {
        Ok(()) => Attempt::Done(decided),
        Err(error) if certainly_aborted(&error) => Attempt::Failed(error),
        Err(error) => Attempt::InDoubt(decided, error),
    }
}

async fn write(
    connection: &mut PgConnection,
    units: &[Unit],
    batch_id: Uuid,
    follow_cap: FollowCap,
    clock: &DatabaseClock,
    parent: &Parent,
) -> sqlx::Result<Decided> {
    let requests: Vec<_> =
        units.iter().filter_map(|unit| Some((unit.request.as_ref()?, &unit.command))).collect();
    let mut remembered = BTreeMap::new();
    if !requests.is_empty() {
        remembered = in_span("replies.read", parent, replies::list(connection, &requests)).await?;
    }
    let mut touches = Touches::default();
    units.iter().for_each(|unit| unit.command.touches(&mut touches));
    let (head, mut graph) = in_span("graph.load", parent, load::load(connection, &touches)).await?;
    let head = Head { clock: clock.earliest(head.clock), ..head };
    add_ended_erases(connection, units, &graph, head, &mut remembered, parent).await?;

    let decided = batch::decide_all(units, &mut graph, head, remembered, follow_cap, ids::random);

    if !decided.replies.is_empty() {
        let insert = replies::insert(connection, &decided.replies, head.now);
        in_span("replies.write", parent, insert).await?;
    }
    if !decided.jobs.is_empty() || !decided.erases.is_empty() {
        in_span("jobs.write", parent, write_jobs(connection, &decided, head)).await?;
    }
    if !decided.journal.entries.is_empty() {
        let save = save::save(connection, &graph, &decided.journal.entries, batch_id);
        in_span("batch.save", parent, save).await?;
    }
    Ok(decided)
}

async fn write_jobs(connection: &mut PgConnection, decided: &Decided, head: Head) -> sqlx::Result<()> {
    for change in &decided.jobs {
        match change {
            JobChange::Start(id, job, request) => {
                jobs::insert(connection, *id, job, *request, head.now).await?;
            }
            JobChange::Replaced(user) => {
                jobs::supersede(connection, *user, JobKind::ReplaceFollowing, None, head.now).await?;
            }
        }
    }
    if !decided.erases.is_empty() {
        jobs::link_erases(connection, &decided.erases).await?;
    }
    Ok(())
}

/// Adds the answers to erases that have ended: a repeat would erase the new account with the same id. The last step of
/// an erase deletes the idempotency records of its account, but requests that were answered with its job stay known as
/// long as the job.
async fn add_ended_erases(
    connection: &mut PgConnection,
    units: &[Unit],
    graph: &Graph,
    head: Head,
    remembered: &mut BTreeMap<RequestName, Reply>,
    parent: &Parent,
) -> sqlx::Result<()> {
    let is_erase = |unit: &&Unit| {
        let Command::Account { user, action: AccountAction::Erase } = &unit.command else { return false };
        // A repeat of an erase that has not ended continues it.
        graph.account(*user).state != AccountState::Erasing
    };
    let erases = units.iter().filter(is_erase).filter_map(|unit| unit.request.as_ref());
    let erases: BTreeMap<RequestName, &RequestKey> = erases
        .map(|request| (request.name(), request))
        .filter(|(key, _)| !remembered.contains_key(key))
        .collect();
    if erases.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = erases.keys().copied().collect();
    for (key, job) in in_span("erases.read", parent, jobs::erases(connection, &keys)).await? {
        let Some(request) = erases.get(&key) else { continue };
        let answer = Answer { changed: false, written_at: head.token(), body: Body::Job(Some(job)) };
        let reply = Reply { fingerprint: request.fingerprint.clone(), answer: Some(answer) };
        remembered.insert(key, reply);
    }
    Ok(())
}

/// Whether the server refused COMMIT: a constraint (class 23) or a conflict (class 40). Any other error, such as a
/// shutdown, may have come after the commit.
fn certainly_aborted(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("23") || code.starts_with("40"))
}

/// Whether a batch was committed, by its first event. Waits, by the lock on the head, for a transaction that is still
/// being committed. Returns false for a batch without events, which can be repeated.
pub async fn was_committed(
    pool: &PgPool,
    batch_id: Uuid,
    first: Option<Revision>,
    parent: &Parent,
) -> sqlx::Result<bool> {
    let Some(first) = first else { return Ok(false) };
    let find = within(async {
        let mut connection = service_kit::postgres::acquire(pool).await?;
        let mut transaction = head::begin_locked(&mut connection).await?;
        let found = outbox::is_of_batch(&mut transaction, first, batch_id).await?;
        transaction.rollback().await?;
        Ok(found)
    });
    in_span("batch.find", parent, find).await
}
