//! What a batch is decided on: the head, the edges and the accounts, in one statement.
//!
//! A round trip costs more than the rows: on a busy machine each of them waits for
//! the processor on both sides.

use std::collections::BTreeMap;

use proto::event::{EdgeKey, EdgeKind};
use proto::{Epoch, Position, Revision, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::edges;
use super::head::Head;
use crate::domain::{Account, AccountState, Edge, Graph, Touches};

const HEAD: i32 = -1;
const ACCOUNT: i32 = 0;

/// See load.sql for what the columns mean in each kind of row.
#[derive(sqlx::FromRow)]
struct Row {
    kind: i32,
    a: Option<Uuid>,
    b: Option<Uuid>,
    at: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
    position: Option<i64>,
    revision: Option<i64>,
    counts: Option<Vec<i64>>,
    state: Option<String>,
}

/// Loads the head and those of the edges and accounts that exist. The transaction
/// must have locked the head, so that nothing changes until it ends.
pub async fn load(connection: &mut PgConnection, touches: &Touches) -> Result<(Head, Graph), sqlx::Error> {
    let (kinds, sources, targets) = edges::columns(touches.edges.iter());
    let rows: Vec<Row> = sqlx::query_as(include_str!("load.sql"))
        .bind(kinds)
        .bind(sources)
        .bind(targets)
        .bind(touches.accounts.iter().map(|user| user.uuid()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut head = None;
    let (mut edges, mut accounts) = (BTreeMap::new(), BTreeMap::new());
    for row in rows {
        match row.kind {
            HEAD => head = to_head(&row),
            ACCOUNT => accounts.extend(to_account(&row)),
            _ => edges.extend(to_edge(&row)),
        }
    }
    Ok((head.ok_or(sqlx::Error::RowNotFound)?, Graph::new(edges, accounts)))
}

fn to_head(row: &Row) -> Option<Head> {
    Some(Head {
        epoch: Epoch(row.position?.unsigned_abs()),
        revision: Revision::from_i64(row.revision?),
        event_id: row.a,
        now: row.at?,
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
        state: match row.state.as_deref()? {
            "archived" => AccountState::Archived,
            "erasing" => AccountState::Erasing,
            _ => AccountState::Active,
        },
    };
    Some((UserId::new(row.a?)?, account))
}

fn to_edge(row: &Row) -> Option<(EdgeKey, Edge)> {
    let key = EdgeKey {
        kind: EdgeKind::try_from(row.kind).ok()?,
        source: UserId::new(row.a?)?,
        target: UserId::new(row.b?)?,
    };
    let edge = Edge {
        created_at: row.at?,
        expires_at: row.expires_at,
        position: Position::from_i64(row.position?),
        revision: Revision::from_i64(row.revision?),
    };
    Some((key, edge))
}
