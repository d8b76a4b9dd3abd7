-- load
-- Everything that a batch is decided on, in one round trip; the head is locked by then.
-- $1 kinds, $2 sources, $3 targets of the edges asked for, $4 the accounts.
-- kind: -1 the head (a event_id, at its date, expires_at the clock, position the epoch), 0 an account, else an
-- edge; the numbers of edges are those of followgraph.graph.v1.EdgeKind.
WITH asked AS (
    SELECT kind, source, target FROM unnest($1::int[], $2::uuid[], $3::uuid[]) AS x(kind, source, target)
)
SELECT -1 AS kind, event_id AS a, NULL::uuid AS b, updated_at AS at,
       clock_timestamp() AS expires_at, epoch AS position, revision, NULL::bigint[] AS counts, NULL::text AS state,
       NULL::boolean AS private
FROM log_head
UNION ALL
SELECT 0, user_id, NULL, NULL, NULL, NULL, NULL,
       ARRAY[followers, following, muting, blocking, requests_sent, requests_received], state, private
FROM accounts WHERE user_id = ANY($4)
UNION ALL
SELECT 1, follower_id, following_id, created_at, NULL, position, revision, NULL, NULL, NULL
FROM asked JOIN follows ON follower_id = source AND following_id = target
WHERE kind = 1
UNION ALL
SELECT 2, muter_id, muted_id, created_at, expires_at, position, revision, NULL, NULL, NULL
FROM asked JOIN mutes ON muter_id = source AND muted_id = target
WHERE kind = 2
UNION ALL
SELECT 3, blocker_id, blocked_id, created_at, expires_at, position, revision, NULL, NULL, NULL
FROM asked JOIN blocks ON blocker_id = source AND blocked_id = target
WHERE kind = 3
UNION ALL
SELECT 4, requester_id, target_id, created_at, NULL, position, revision, NULL, NULL, NULL
FROM asked JOIN follow_requests ON requester_id = source AND target_id = target
WHERE kind = 4
