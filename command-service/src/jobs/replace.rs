//! Steps of the job that replaces a following list.
//!
//! A pass removes what is not in the list, then adds what is missing. The job ends after a pass that changed nothing,
//! or after [`MOST_PASSES`]: others may change the same pairs while it runs. A step looks for open pairs without the
//! lock on the head, and decides about those few under it.

use proto::event::Verb;
use proto::{Position, UserId};
use sqlx::PgConnection;

use super::plan::Plan;
use crate::domain::{Graph, Touches, add_step, check_active, remove_step};
use crate::store::head::Head;
use crate::store::job_cursor::{Cursor, Phase};
use crate::store::jobs::Job;
use crate::store::targets::{self, Seen};
use crate::store::{load, within};

/// Rows of one read ahead.
const LOOK: i64 = 2_000;
/// Passes of one job. The second finds changes during the first; further ones find pairs that others keep changing.
const MOST_PASSES: i16 = 4;
/// Reads of one step that find nothing to do.
const LOOKS: usize = 10;

/// Open pairs of a step.
pub struct OpenPairs {
    users: Vec<UserId>,
    /// Cursor of the read that found them.
    at: Cursor,
    /// Cursor of the next step; `None` if the job is done.
    next: Option<Cursor>,
}

/// Finds the next open pairs, without the lock on the head.
pub async fn look_ahead(connection: &mut PgConnection, job: &Job, limit: usize) -> sqlx::Result<OpenPairs> {
    let names = (job.job_id, job.user_id);
    let mut cursor = job.cursor().unwrap_or(Cursor::start(Phase::Remove));
    let mut found = OpenPairs { users: Vec::new(), at: cursor, next: Some(cursor) };
    for _ in 0..LOOKS {
        found.at = cursor;
        let sql = if cursor.phase == Phase::Add { targets::LIST } else { targets::EDGES };
        let seen = within(targets::look_at(connection, sql, names, cursor.after, LOOK)).await?;
        let (users, last) = choose(&seen, limit);
        found.users = users;
        found.next = match last {
            Some(after) => Some(Cursor { after, ..cursor }),
            None => next_phase(cursor, job.done),
        };
        match found.next {
            Some(next) if found.users.is_empty() => cursor = next,
            _ => break,
        }
    }
    Ok(found)
}

/// Returns up to `limit` open accounts, and the position to continue after; `None` at the end of the phase.
fn choose(seen: &[Seen], limit: usize) -> (Vec<UserId>, Option<Position>) {
    let open: Vec<&Seen> = seen.iter().filter(|row| !row.reached).take(limit).collect();
    let users = open.iter().map(|row| row.target).collect();
    let last = match open.last() {
        Some(last) if open.len() == limit => Some(last.position),
        _ if seen.len() as i64 == LOOK => seen.last().map(|row| row.position),
        // The end of the phase.
        Some(_) | None => None,
    };
    (users, last)
}

fn next_phase(cursor: Cursor, done: i64) -> Option<Cursor> {
    match cursor.phase {
        Phase::Add if done == cursor.pass_done => None,
        Phase::Add => next_pass(cursor, done),
        _ => Some(Cursor { phase: Phase::Add, after: Position(0), ..cursor }),
    }
}

/// The beginning of the next pass; `None` after the last one.
fn next_pass(cursor: Cursor, done: i64) -> Option<Cursor> {
    let passes = cursor.passes + 1;
    (passes < MOST_PASSES).then(|| Cursor { pass_done: done, passes, ..Cursor::start(Phase::Remove) })
}

/// Decides a step under the lock; `None` if a command has overtaken the job.
pub async fn plan(
    connection: &mut PgConnection,
    job: &Job,
    user: UserId,
    open: OpenPairs,
) -> sqlx::Result<(Head, Graph, Option<Plan>)> {
    let mut touches = Touches::default();
    touches.accounts.insert(user);
    open.users.iter().for_each(|target| touches.follow(user, *target));
    let (head, graph) = load::load(connection, &touches).await?;
    if check_active(&graph, user).is_err() {
        return Ok((head, graph, None));
    }
    let changes = match open.at.phase {
        Phase::Add => {
            let users = targets::still_listed(connection, job.job_id, &open.users).await?;
            add_step(&graph, user, &users)
        }
        _ => remove_step(&graph, user, &open.users),
    };
    let edges = changes.len();
    // This last step of the pass changed something, so another pass is needed.
    let next = match open.next {
        None if edges > 0 => next_pass(open.at, job.done + edges as i64),
        next => next,
    };
    Ok((head, graph, Some(Plan::new(Verb::ReplaceFollowing, changes, edges, next))))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn user(n: u128) -> UserId {
        UserId::new(Uuid::from_u128(n)).expect("not nil")
    }

    #[test]
    fn a_step_takes_open_rows_up_to_its_limit() {
        let seen: Vec<_> = (1..=10)
            .map(|n| Seen { position: Position(n), target: user(u128::from(n)), reached: n % 2 == 1 })
            .collect();
        assert_eq!(choose(&seen, 3), (vec![user(2), user(4), user(6)], Some(Position(6))));
        assert_eq!(choose(&seen, 9).1, None, "a short read is the last one");
        assert_eq!(choose(&[], 9), (vec![], None));
    }

    #[test]
    fn a_pass_without_changes_is_the_last() {
        let pass = |phase| Cursor { pass_done: 7, ..Cursor::start(phase) };
        assert_eq!(next_phase(pass(Phase::Remove), 7), Some(pass(Phase::Add)));
        assert_eq!(next_phase(pass(Phase::Add), 7), None);
        let again = Cursor { pass_done: 9, passes: 1, ..Cursor::start(Phase::Remove) };
        assert_eq!(next_phase(pass(Phase::Add), 9), Some(again));
    }

    #[test]
    fn a_job_ends_although_others_keep_changing_its_pairs() {
        let (mut cursor, mut done, mut phases) = (Cursor::start(Phase::Remove), 0, 1);
        while let Some(next) = next_phase(cursor, done) {
            (cursor, done, phases) = (next, done + 1, phases + 1);
            assert!(phases < 100, "{cursor:?}");
        }
        assert_eq!(phases, 2 * MOST_PASSES, "each pass removes and adds");
    }
}
