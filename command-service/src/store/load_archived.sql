-- load_archived
-- The hidden ones among the edges asked for: $1 kinds, $2 sources, $3 targets.
WITH asked AS (
    SELECT kind, source, target FROM unnest($1::int[], $2::uuid[], $3::uuid[]) AS x(kind, source, target)
)
SELECT 1 AS kind, follower_id AS a, following_id AS b, created_at AS at, NULL::timestamptz AS expires_at, position, revision
FROM asked JOIN archived_follows ON follower_id = source AND following_id = target
WHERE kind = 1
UNION ALL
SELECT 2, muter_id, muted_id, created_at, expires_at, position, revision
FROM asked JOIN archived_mutes ON muter_id = source AND muted_id = target
WHERE kind = 2
UNION ALL
SELECT 3, blocker_id, blocked_id, created_at, expires_at, position, revision
FROM asked JOIN archived_blocks ON blocker_id = source AND blocked_id = target
WHERE kind = 3
UNION ALL
SELECT 4, requester_id, target_id, created_at, NULL, position, revision
FROM asked JOIN archived_follow_requests ON requester_id = source AND target_id = target
WHERE kind = 4
