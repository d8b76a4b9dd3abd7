//! Writes edges to four tables of the same shape and their four archives.
//!
//! The load under the lock shows which rows exist, so rows are inserted, updated or deleted, never upserted.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proto::event::{EdgeKey, EdgeKind};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Edge, Graph, Layer};

static LIVE: LazyLock<Tables> = LazyLock::new(|| tables(""));
static ARCHIVED: LazyLock<Tables> = LazyLock::new(|| tables("archived_"));

/// The statements of the table of each kind.
type Tables = BTreeMap<EdgeKind, Sql>;

/// The statements of one table.
struct Sql {
    insert: String,
    update: String,
    delete: String,
}

fn tables(prefix: &str) -> Tables {
    BTreeMap::from([
        (EdgeKind::Follow, Sql::new(format!("{prefix}follows"), "follower_id", "following_id", false)),
        (EdgeKind::Mute, Sql::new(format!("{prefix}mutes"), "muter_id", "muted_id", true)),
        (EdgeKind::Block, Sql::new(format!("{prefix}blocks"), "blocker_id", "blocked_id", true)),
        (
            EdgeKind::FollowRequest,
            Sql::new(format!("{prefix}follow_requests"), "requester_id", "target_id", false),
        ),
    ])
}

impl Sql {
    fn new(table: String, source: &str, target: &str, expires: bool) -> Self {
        let (column, value, set) =
            if expires { (", expires_at", ", e", ", expires_at = e") } else { ("", "", "") };
        let rows = "unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::bigint[], \
                    $6::timestamptz[]) AS x(s, t, c, p, r, e)";
        Self {
            insert: format!(
                "-- {table}_insert
                 INSERT INTO {table} ({source}, {target}, created_at, position, revision{column})
                 SELECT s, t, c, p, r{value} FROM {rows}"
            ),
            update: format!(
                "-- {table}_update
                 UPDATE {table} SET created_at = c, position = p, revision = r{set} FROM {rows}
                 WHERE {source} = s AND {target} = t"
            ),
            delete: format!(
                "-- {table}_delete
                 DELETE FROM {table} USING unnest($1::uuid[], $2::uuid[]) AS x(s, t)
                 WHERE {source} = s AND {target} = t"
            ),
        }
    }
}

/// Writes the changes of live and archived edges.
pub async fn save(connection: &mut PgConnection, graph: &Graph) -> sqlx::Result<()> {
    save_layer(connection, &graph.live, &LIVE).await?;
    save_layer(connection, &graph.archived, &ARCHIVED).await
}

async fn save_layer(
    connection: &mut PgConnection,
    layer: &Layer,
    tables: &'static Tables,
) -> sqlx::Result<()> {
    for (kind, keys) in by_kind(layer.to_delete(), |key| key.kind) {
        let Some(sql) = tables.get(&kind) else { continue };
        let (_, sources, targets) = columns(keys.into_iter());
        sqlx::query(sql.delete.as_str()).bind(sources).bind(targets).execute(&mut *connection).await?;
    }
    for (kind, edges) in by_kind(layer.to_update(), |(key, _)| key.kind) {
        let Some(sql) = tables.get(&kind) else { continue };
        put(connection, &sql.update, &edges).await?;
    }
    for (kind, edges) in by_kind(layer.to_insert(), |(key, _)| key.kind) {
        let Some(sql) = tables.get(&kind) else { continue };
        put(connection, &sql.insert, &edges).await?;
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
