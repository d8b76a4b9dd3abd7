//! Writing edges: four tables of the same shape.
//!
//! Every statement names its columns in full; nothing is put together from text at
//! run time.

use std::collections::BTreeMap;

use proto::event::{EdgeKey, EdgeKind};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::Edge;

/// Inserts edges, or sets those that exist.
pub async fn put<'a>(
    connection: &mut PgConnection,
    edges: impl Iterator<Item = (&'a EdgeKey, &'a Edge)>,
) -> Result<(), sqlx::Error> {
    for (kind, edges) in by_kind(edges, |(key, _)| key.kind) {
        let (_, sources, targets) = columns(edges.iter().map(|(key, _)| *key));
        let edges = || edges.iter().map(|(_, edge)| *edge);
        sqlx::query(match kind {
            EdgeKind::Follow => FOLLOWS_PUT,
            EdgeKind::Mute => MUTES_PUT,
            EdgeKind::Block => BLOCKS_PUT,
            EdgeKind::FollowRequest => FOLLOW_REQUESTS_PUT,
            EdgeKind::Unspecified => continue,
        })
        .bind(sources)
        .bind(targets)
        .bind(edges().map(|edge| edge.created_at).collect::<Vec<_>>())
        .bind(edges().map(|edge| edge.expires_at).collect::<Vec<_>>())
        .bind(edges().map(|edge| edge.position.as_i64()).collect::<Vec<_>>())
        .bind(edges().map(|edge| edge.revision.as_i64()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Deletes edges.
pub async fn delete<'a>(
    connection: &mut PgConnection,
    keys: impl Iterator<Item = &'a EdgeKey>,
) -> Result<(), sqlx::Error> {
    for (kind, keys) in by_kind(keys, |key| key.kind) {
        let (_, sources, targets) = columns(keys.into_iter());
        sqlx::query(match kind {
            EdgeKind::Follow => FOLLOWS_DELETE,
            EdgeKind::Mute => MUTES_DELETE,
            EdgeKind::Block => BLOCKS_DELETE,
            EdgeKind::FollowRequest => FOLLOW_REQUESTS_DELETE,
            EdgeKind::Unspecified => continue,
        })
        .bind(sources)
        .bind(targets)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Kinds, sources and targets, as columns.
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

const FOLLOWS_PUT: &str = "-- follows_put
    INSERT INTO follows (follower_id, following_id, created_at, position, revision)
    SELECT s, t, c, p, r
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::bigint[])
         AS x(s, t, c, e, p, r)
    ON CONFLICT (follower_id, following_id) DO UPDATE
    SET created_at = excluded.created_at, position = excluded.position, revision = excluded.revision";

const MUTES_PUT: &str = "-- mutes_put
    INSERT INTO mutes (muter_id, muted_id, created_at, expires_at, position, revision)
    SELECT s, t, c, e, p, r
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::bigint[])
         AS x(s, t, c, e, p, r)
    ON CONFLICT (muter_id, muted_id) DO UPDATE
    SET created_at = excluded.created_at, expires_at = excluded.expires_at, position = excluded.position,
        revision = excluded.revision";

const BLOCKS_PUT: &str = "-- blocks_put
    INSERT INTO blocks (blocker_id, blocked_id, created_at, expires_at, position, revision)
    SELECT s, t, c, e, p, r
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::bigint[])
         AS x(s, t, c, e, p, r)
    ON CONFLICT (blocker_id, blocked_id) DO UPDATE
    SET created_at = excluded.created_at, expires_at = excluded.expires_at, position = excluded.position,
        revision = excluded.revision";

const FOLLOW_REQUESTS_PUT: &str = "-- follow_requests_put
    INSERT INTO follow_requests (requester_id, target_id, created_at, position, revision)
    SELECT s, t, c, p, r
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::bigint[])
         AS x(s, t, c, e, p, r)
    ON CONFLICT (requester_id, target_id) DO UPDATE
    SET created_at = excluded.created_at, position = excluded.position, revision = excluded.revision";

const FOLLOWS_DELETE: &str = "-- follows_delete
    DELETE FROM follows USING unnest($1::uuid[], $2::uuid[]) AS x(s, t)
    WHERE follower_id = s AND following_id = t";

const MUTES_DELETE: &str = "-- mutes_delete
    DELETE FROM mutes USING unnest($1::uuid[], $2::uuid[]) AS x(s, t) WHERE muter_id = s AND muted_id = t";

const BLOCKS_DELETE: &str = "-- blocks_delete
    DELETE FROM blocks USING unnest($1::uuid[], $2::uuid[]) AS x(s, t) WHERE blocker_id = s AND blocked_id = t";

const FOLLOW_REQUESTS_DELETE: &str = "-- follow_requests_delete
    DELETE FROM follow_requests USING unnest($1::uuid[], $2::uuid[]) AS x(s, t)
    WHERE requester_id = s AND target_id = t";
