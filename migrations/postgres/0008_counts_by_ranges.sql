-- Counts are compared with the read model range by range, and rows of accounts that say nothing are deleted.

-- The comment on accounts waits for a VACUUM of it.
SET LOCAL lock_timeout = '5s';

-- A function of the owner: the projector compares sums, and has no right to the table.
CREATE FUNCTION sum_counts(after uuid, most integer,
    OUT last uuid, OUT accounts bigint,
    OUT following bigint, OUT followers bigint, OUT muting bigint, OUT blocking bigint,
    OUT requests_sent bigint, OUT requests_received bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    -- There is no max(uuid) before PostgreSQL 18.
    SELECT (array_agg(a.user_id ORDER BY a.user_id DESC))[1], count(*),
           coalesce(sum(a.following), 0)::bigint, coalesce(sum(a.followers), 0)::bigint,
           coalesce(sum(a.muting), 0)::bigint, coalesce(sum(a.blocking), 0)::bigint,
           coalesce(sum(a.requests_sent), 0)::bigint, coalesce(sum(a.requests_received), 0)::bigint
    FROM (SELECT * FROM accounts WHERE user_id > after ORDER BY user_id LIMIT most) a
$$;
COMMENT ON FUNCTION sum_counts(uuid, integer) IS
    'sums of the counts of the first accounts after one, with the last of them and how many they are';

COMMENT ON TABLE accounts IS 'counts and flags of every account that has an edge or a flag; no row means none of either';
