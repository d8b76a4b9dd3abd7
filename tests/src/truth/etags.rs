//! The etag that each pair must have, computed from PostgreSQL alone.

use std::collections::BTreeMap;

use proto::etag::PairEdge;
use proto::event::EdgeKind;
use proto::timestamp::to_millis;
use proto::{Etag, Revision, UserId};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

/// The kinds have the contract's numbers.
const EDGES: &str = "
    WITH edges AS (
        SELECT 1 AS kind, follower_id AS source, following_id AS target,
               revision, created_at, NULL::timestamptz AS expires_at FROM follows
        UNION ALL
        SELECT 2, muter_id, muted_id, revision, created_at, expires_at FROM mutes
        UNION ALL
        SELECT 3, blocker_id, blocked_id, revision, created_at, expires_at FROM blocks
        UNION ALL
        SELECT 4, requester_id, target_id, revision, created_at, NULL FROM follow_requests
    )
    SELECT * FROM edges WHERE source = ANY ($1) AND target = ANY ($1)";

type Row = (i32, Uuid, Uuid, i64, OffsetDateTime, Option<OffsetDateTime>);

/// The etag of every ordered pair of these accounts, the viewer first.
///
/// # Panics
/// If the database does not answer.
pub async fn etags(pool: &PgPool, users: &[UserId]) -> BTreeMap<(UserId, UserId), Etag> {
    let ids: Vec<Uuid> = users.iter().map(|user| user.uuid()).collect();
    let rows: Vec<Row> = sqlx::query_as(EDGES).bind(ids).fetch_all(pool).await.expect("edges are readable");
    let edges = |viewer: UserId, other: UserId| {
        rows.iter().filter_map(move |(kind, source, target, revision, created_at, expires_at)| {
            let outgoing = (*source, *target) == (viewer.uuid(), other.uuid());
            let incoming = (*source, *target) == (other.uuid(), viewer.uuid());
            (outgoing || incoming).then(|| PairEdge {
                kind: EdgeKind::try_from(*kind).expect("a kind"),
                outgoing,
                revision: Revision::from_i64(*revision),
                created_at_millis: to_millis(*created_at),
                expires_at_millis: expires_at.map(to_millis),
            })
        })
    };
    let pairs = users.iter().flat_map(|viewer| users.iter().map(move |other| (*viewer, *other)));
    pairs.map(|(viewer, other)| ((viewer, other), Etag::of(viewer, other, edges(viewer, other)))).collect()
}
