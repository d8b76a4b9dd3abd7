-- chunk_archived
-- The next hidden edges of an account ($1), in both directions and of all kinds, after a position
-- ($2); at most $3.
SELECT kind, a, b, at, expires_at, position, revision FROM (
    (SELECT 1 AS kind, follower_id AS a, following_id AS b, created_at AS at, NULL::timestamptz AS expires_at, position, revision
     FROM archived_follows WHERE follower_id = $1 AND position > $2 ORDER BY position LIMIT $3)
    UNION ALL
    (SELECT 1, follower_id, following_id, created_at, NULL::timestamptz, position, revision
     FROM archived_follows WHERE following_id = $1 AND position > $2 ORDER BY position LIMIT $3)
    UNION ALL
    (SELECT 2, muter_id, muted_id, created_at, expires_at, position, revision
     FROM archived_mutes WHERE muter_id = $1 AND position > $2 ORDER BY position LIMIT $3)
    UNION ALL
    (SELECT 2, muter_id, muted_id, created_at, expires_at, position, revision
     FROM archived_mutes WHERE muted_id = $1 AND position > $2 ORDER BY position LIMIT $3)
    UNION ALL
    (SELECT 3, blocker_id, blocked_id, created_at, expires_at, position, revision
     FROM archived_blocks WHERE blocker_id = $1 AND position > $2 ORDER BY position LIMIT $3)
    UNION ALL
    (SELECT 3, blocker_id, blocked_id, created_at, expires_at, position, revision
     FROM archived_blocks WHERE blocked_id = $1 AND position > $2 ORDER BY position LIMIT $3)
    UNION ALL
    (SELECT 4, requester_id, target_id, created_at, NULL::timestamptz, position, revision
     FROM archived_follow_requests WHERE requester_id = $1 AND position > $2 ORDER BY position LIMIT $3)
    UNION ALL
    (SELECT 4, requester_id, target_id, created_at, NULL::timestamptz, position, revision
     FROM archived_follow_requests WHERE target_id = $1 AND position > $2 ORDER BY position LIMIT $3)
) AS edges
ORDER BY position LIMIT $3
