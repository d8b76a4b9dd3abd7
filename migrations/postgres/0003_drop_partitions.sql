-- Old partitions are found by their names one by one.
--
-- As a condition of the query that finds them, the reading of the day from the name may be applied to every
-- relation there is, before the join: once PostgreSQL has statistics of its own catalogue it does so, and fails
-- at the first name that does not end with a day. Then no partition was ever dropped.

CREATE OR REPLACE FUNCTION drop_partitions(parent text, older_than interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    last_day date := ((now() - older_than) AT TIME ZONE 'UTC')::date - 1;
    child    text;
    dropped  integer := 0;
BEGIN
    IF parent NOT IN ('outbox', 'replies') THEN
        RAISE EXCEPTION 'not a partitioned log: %', parent;
    END IF;
    PERFORM pg_advisory_xact_lock(7166105001);
    FOR child IN
        SELECT c.relname
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass('public.' || parent)
    LOOP
        -- The name says the day; the partition ends a day later. What has another name is not ours to drop.
        CONTINUE WHEN child !~ '_[0-9]{8}$';
        CONTINUE WHEN to_date(right(child, 8), 'YYYYMMDD') > last_day;
        EXECUTE format('DROP TABLE public.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
