-- count_edges
-- The edges of an account ($1) in both directions: live ones, and hidden ones.
SELECT (SELECT count(*) FROM follows WHERE follower_id = $1) +
       (SELECT count(*) FROM follows WHERE following_id = $1) +
       (SELECT count(*) FROM mutes WHERE muter_id = $1) +
       (SELECT count(*) FROM mutes WHERE muted_id = $1) +
       (SELECT count(*) FROM blocks WHERE blocker_id = $1) +
       (SELECT count(*) FROM blocks WHERE blocked_id = $1) +
       (SELECT count(*) FROM follow_requests WHERE requester_id = $1) +
       (SELECT count(*) FROM follow_requests WHERE target_id = $1),
       (SELECT count(*) FROM archived_follows WHERE follower_id = $1) +
       (SELECT count(*) FROM archived_follows WHERE following_id = $1) +
       (SELECT count(*) FROM archived_mutes WHERE muter_id = $1) +
       (SELECT count(*) FROM archived_mutes WHERE muted_id = $1) +
       (SELECT count(*) FROM archived_blocks WHERE blocker_id = $1) +
       (SELECT count(*) FROM archived_blocks WHERE blocked_id = $1) +
       (SELECT count(*) FROM archived_follow_requests WHERE requester_id = $1) +
       (SELECT count(*) FROM archived_follow_requests WHERE target_id = $1)
