//! Loads the inputs of decisions: the head, edges and accounts in one statement.
//!
//! A round trip costs more than the rows: on a busy machine it waits for the processor on both sides. Inputs of few
//! commands (archived edges, unchanged lists, running jobs, prepared lists) have statements of their own, executed only
//! if needed.

use std::collections::BTreeMap;

use proto::event::{EdgeKey, EdgeKind};
use proto::{Epoch, Position, Revision, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::head::{Head, date_of_commit};
use super::{edges, jobs, replacement, targets};
use crate::domain::{Account, AccountState, Edge, Graph, Layer, Touches};

const HEAD: i32 = -1;
const ACCOUNT: i32 = 0;

/// A row of load.sql, which documents the columns of each kind. Other statements return edges only.
#[derive(sqlx::FromRow)]
pub(super) struct Row {
    kind: i32,
    a: Option<Uuid>,
    b: Option<Uuid>,
    at: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
    position: Option<i64>,
    revision: Option<i64>,
    #[sqlx(default)]
    counts: Option<Vec<i64>>,
    #[sqlx(default)]
    state: Option<String>,
    #[sqlx(default)]
    private: Option<bool>,
}

impl Row {
    /// The edge, live or archived; `None` for values that the tables cannot hold.
    pub(super) fn edge(&self) -> Option<(EdgeKey, Edge)> {
        let key = EdgeKey {
            kind: EdgeKind::try_from(self.kind).ok()?,
            source: UserId::new(self.a?)?,
            target: UserId::new(self.b?)?,
        };
        let edge = Edge {
            created_at: self.at?,
            expires_at: self.expires_at,
            position: Position::from_i64(self.position?),
            revision: Revision::from_i64(self.revision?),
        };
        Some((key, edge))
    }
}

/// Loads the head, and the existing ones of the edges and accounts. The transaction must have locked the head, so that
/// nothing changes until it ends.
pub async fn load(connection: &mut PgConnection, touches: &Touches) -> sqlx::Result<(Head, Graph)> {
    let (kinds, sources, targets) = edges::columns(touches.edges.iter());
    let rows: Vec<Row> = sqlx::query_as(include_str!("load.sql"))
        .bind(kinds)
        .bind(sources)
        .bind(targets)
        .bind(touches.accounts.iter().map(|user| user.uuid()).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
    let mut head = None;
    let (mut edges, mut accounts) = (BTreeMap::new(), BTreeMap::new());
    for row in rows {
        match row.kind {
            HEAD => head = to_head(&row),
            ACCOUNT => accounts.extend(to_account(&row)),
            _ => edges.extend(row.edge()),
        }
    }
    let head = head.ok_or(sqlx::Error::RowNotFound)?;
    let archives =
        touches.edges.iter().filter(|key| has_archive(&accounts, key)).copied().collect::<Vec<_>>();
    let mut graph = Graph::new(edges, accounts);
    graph.loaded = Some(touches.accounts.clone());
    if !archives.is_empty() {
        graph.archived = Layer::new(archived(connection, &archives).await?);
    }
    for (user, seen) in &touches.lists {
        let same_history = seen.epoch == head.epoch;
        if same_history && replacement::is_unchanged(connection, *user, seen.revision).await? {
            graph.unchanged_lists.insert(*user);
        }
    }
    if !touches.prepared.is_empty() {
        graph.discarded_lists.extend(targets::discarded(connection, &touches.prepared).await?);
    }
    if !touches.jobs_of.is_empty() {
        graph.running_jobs.extend(jobs::running(connection, touches.jobs_of.iter()).await?);
        let is_archived = |user: &UserId| graph.account(*user).state == AccountState::Archived;
        let archived: Vec<_> = touches.jobs_of.iter().copied().filter(is_archived).collect();
        if !archived.is_empty() {
            graph.shown_by_others.extend(jobs::shown_by_others(connection, &archived).await?);
        }
    }
    Ok((head, graph))
}

/// Whether an edge may be archived: one of its ends is not active.
fn has_archive(accounts: &BTreeMap<UserId, Account>, key: &EdgeKey) -> bool {
    [key.source, key.target].iter().any(|user| accounts.get(user).is_some_and(|a| a.state.has_archive()))
}

async fn archived(connection: &mut PgConnection, keys: &[EdgeKey]) -> sqlx::Result<BTreeMap<EdgeKey, Edge>> {
    let (kinds, sources, targets) = edges::columns(keys.iter());
    let rows: Vec<Row> = sqlx::query_as(include_str!("load_archived.sql"))
        .bind(kinds)
        .bind(sources)
        .bind(targets)
        .fetch_all(connection)
        .await?;
    Ok(rows.iter().filter_map(Row::edge).collect())
}

fn to_head(row: &Row) -> Option<Head> {
    Some(Head {
        epoch: Epoch(row.position?.unsigned_abs()),
        revision: Revision::from_i64(row.revision?),
        event_id: row.a,
        now: date_of_commit(row.expires_at?, row.at?),
        clock: row.expires_at?,
    })
}

fn to_account(row: &Row) -> Option<(UserId, Account)> {
    let count = |i: usize| row.counts.as_ref().and_then(|counts| counts.get(i)).map(|n| n.unsigned_abs());
    let account = Account {
        followers: count(0)?,
        following: count(1)?,
        muting: count(2)?,
        blocking: count(3)?,
        requests_sent: count(4)?,
        requests_received: count(5)?,
        private: row.private?,
        state: AccountState::named(row.state.as_deref()?),
    };
    Some((UserId::new(row.a?)?, account))
}
