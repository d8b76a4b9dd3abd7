-- load_following
-- All follows and pending requests of accounts ($1), whether live or hidden.
SELECT 1 AS kind, follower_id AS a, following_id AS b, created_at AS at, NULL::timestamptz AS expires_at, position,
       revision, false AS archived
FROM follows WHERE follower_id = ANY($1)
UNION ALL
SELECT 4, requester_id, target_id, created_at, NULL, position, revision, false
FROM follow_requests WHERE requester_id = ANY($1)
UNION ALL
SELECT 1, follower_id, following_id, created_at, NULL, position, revision, true
FROM archived_follows WHERE follower_id = ANY($1)
UNION ALL
SELECT 4, requester_id, target_id, created_at, NULL, position, revision, true
FROM archived_follow_requests WHERE requester_id = ANY($1)
