//! Writes edges to four tables of the same shape and their four archives.
//!
//! The statements are built at compile time. The load under the lock shows which rows exist, so rows are inserted,
//! updated or deleted, never upserted.

use std::collections::BTreeMap;

use proto::event::{EdgeKey, EdgeKind};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Edge, Layer};

/// The statements of one table.
struct Sql {
    insert: &'static str,
    update: &'static str,
    delete: &'static str,
}

/// `$expires` and `$value` are empty for tables without expiry.
macro_rules! sql {
    ($table:literal, $source:literal, $target:literal, $expires:literal, $value:literal, $set:literal) => {
        Sql {
            insert: concat!(
                "-- ",
                $table,
                "_insert\nINSERT INTO ",
                $table,
                " (",
                $source,
                ", ",
                $target,
                ", created_at, position, revision",
                $expires,
                ") SELECT s, t, c, p, r",
                $value,
                " FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::bigint[],",
                " $6::timestamptz[]) AS x(s, t, c, p, r, e)"
            ),
            update: concat!(
                "-- ",
                $table,
                "_update\nUPDATE ",
                $table,
                " SET created_at = c, position = p, revision = r",
                $set,
                " FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::bigint[],",
                " $6::timestamptz[]) AS x(s, t, c, p, r, e) WHERE ",
                $source,
                " = s AND ",
                $target,
                " = t"
            ),
            delete: concat!(
                "-- ",
                $table,
                "_delete\nDELETE FROM ",
                $table,
                " USING unnest($1::uuid[], $2::uuid[]) AS x(s, t) WHERE ",
                $source,
                " = s AND ",
                $target,
                " = t"
            ),
        }
    };
}

const FOLLOWS: Sql = sql!("follows", "follower_id", "following_id", "", "", "");
const MUTES: Sql = sql!("mutes", "muter_id", "muted_id", ", expires_at", ", e", ", expires_at = e");
const BLOCKS: Sql = sql!("blocks", "blocker_id", "blocked_id", ", expires_at", ", e", ", expires_at = e");
const REQUESTS: Sql = sql!("follow_requests", "requester_id", "target_id", "", "", "");
const ARCHIVED_FOLLOWS: Sql = sql!("archived_follows", "follower_id", "following_id", "", "", "");
const ARCHIVED_MUTES: Sql =
    sql!("archived_mutes", "muter_id", "muted_id", ", expires_at", ", e", ", expires_at = e");
const ARCHIVED_BLOCKS: Sql =
    sql!("archived_blocks", "blocker_id", "blocked_id", ", expires_at", ", e", ", expires_at = e");
const ARCHIVED_REQUESTS: Sql = sql!("archived_follow_requests", "requester_id", "target_id", "", "", "");

/// The statements of a kind's table.
fn live(kind: EdgeKind) -> Option<&'static Sql> {
    match kind {
        EdgeKind::Follow => Some(&FOLLOWS),
        EdgeKind::Mute => Some(&MUTES),
        EdgeKind::Block => Some(&BLOCKS),
        EdgeKind::FollowRequest => Some(&REQUESTS),
        EdgeKind::Unspecified => None,
    }
}

/// The statements of a kind's archive.
fn archived(kind: EdgeKind) -> Option<&'static Sql> {
    match kind {
        EdgeKind::Follow => Some(&ARCHIVED_FOLLOWS),
        EdgeKind::Mute => Some(&ARCHIVED_MUTES),
        EdgeKind::Block => Some(&ARCHIVED_BLOCKS),
        EdgeKind::FollowRequest => Some(&ARCHIVED_REQUESTS),
        EdgeKind::Unspecified => None,
    }
}

/// Writes the changes of live edges.
pub async fn save_live(connection: &mut PgConnection, layer: &Layer) -> sqlx::Result<()> {
    save(connection, layer, live).await
}

/// Writes the changes of archived edges.
pub async fn save_archived(connection: &mut PgConnection, layer: &Layer) -> sqlx::Result<()> {
    save(connection, layer, archived).await
}

async fn save(
    connection: &mut PgConnection,
    layer: &Layer,
    tables: fn(EdgeKind) -> Option<&'static Sql>,
) -> sqlx::Result<()> {
    for (kind, keys) in by_kind(layer.to_delete(), |key| key.kind) {
        let Some(sql) = tables(kind) else { continue };
        let (_, sources, targets) = columns(keys.into_iter());
        sqlx::query(sql.delete).bind(sources).bind(targets).execute(&mut *connection).await?;
    }
    for (kind, edges) in by_kind(layer.to_update(), |(key, _)| key.kind) {
        let Some(sql) = tables(kind) else { continue };
        put(connection, sql.update, &edges).await?;
    }
    for (kind, edges) in by_kind(layer.to_insert(), |(key, _)| key.kind) {
        let Some(sql) = tables(kind) else { continue };
        put(connection, sql.insert, &edges).await?;
    }
    Ok(())
}

async fn put(
    connection: &mut PgConnection,
    sql: &'static str,
    edges: &[(&EdgeKey, &Edge)],
) -> sqlx::Result<()> {
    let (_, sources, targets) = columns(edges.iter().map(|(key, _)| *key));
    let edges = || edges.iter().map(|(_, edge)| *edge);
    sqlx::query(sql)
        .bind(sources)
        .bind(targets)
        .bind(edges().map(|edge| edge.created_at).collect::<Vec<_>>())
        .bind(edges().map(|edge| edge.position.as_i64()).collect::<Vec<_>>())
        .bind(edges().map(|edge| edge.revision.as_i64()).collect::<Vec<_>>())
        .bind(edges().map(|edge| edge.expires_at).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(|_| ())
}

/// Kinds, sources and targets as columns.
pub fn columns<'a>(keys: impl Iterator<Item = &'a EdgeKey>) -> (Vec<i32>, Vec<Uuid>, Vec<Uuid>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for key in keys {
        columns.0.push(key.kind.into());
        columns.1.push(key.source.uuid());
        columns.2.push(key.target.uuid());
    }
    columns
}

fn by_kind<T>(items: impl Iterator<Item = T>, kind: impl Fn(&T) -> EdgeKind) -> BTreeMap<EdgeKind, Vec<T>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for item in items {
        groups.entry(kind(&item)).or_default().push(item);
    }
    groups
}
