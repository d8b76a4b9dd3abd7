-- edges_list
-- The edges among those asked for ($1 kinds, $2 sources, $3 targets) that exist.
-- The numbers are those of followgraph.graph.v1.EdgeKind.
WITH asked AS (
    SELECT kind, source, target FROM unnest($1::int[], $2::uuid[], $3::uuid[]) AS x(kind, source, target)
)
SELECT 1, follower_id, following_id, created_at, NULL::timestamptz, position, revision
FROM asked JOIN follows ON follower_id = source AND following_id = target
WHERE kind = 1
UNION ALL
SELECT 2, muter_id, muted_id, created_at, expires_at, position, revision
FROM asked JOIN mutes ON muter_id = source AND muted_id = target
WHERE kind = 2
UNION ALL
SELECT 3, blocker_id, blocked_id, created_at, expires_at, position, revision
FROM asked JOIN blocks ON blocker_id = source AND blocked_id = target
WHERE kind = 3
UNION ALL
SELECT 4, requester_id, target_id, created_at, NULL::timestamptz, position, revision
FROM asked JOIN follow_requests ON requester_id = source AND target_id = target
WHERE kind = 4
