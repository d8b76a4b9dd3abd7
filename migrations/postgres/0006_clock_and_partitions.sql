-- Trust in PostgreSQL's clock, and partitions that are made without holding up writes.

-- Writers of jobs queue behind the trigger below.
SET LOCAL lock_timeout = '5s';

CREATE TABLE clock (
    singleton     boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    seen_at       timestamptz,
    jumped        text,
    trusted_since timestamptz NOT NULL DEFAULT '-infinity',
    accepted      bigint      NOT NULL DEFAULT 0
);
INSERT INTO clock DEFAULT VALUES;
COMMENT ON TABLE  clock               IS 'one row: whether expiry and partition drops may use the clock of this server';
COMMENT ON COLUMN clock.seen_at       IS 'this clock when a command-service last trusted it; null before the first time';
COMMENT ON COLUMN clock.jumped        IS 'the jump that an operator has to accept; null if there is none';
COMMENT ON COLUMN clock.trusted_since IS 'this clock when it was trusted again; infinity while it is not; partitions that reach beyond it stay';
COMMENT ON COLUMN clock.accepted      IS 'how often an operator has accepted the clock';

CREATE FUNCTION accept_clock() RETURNS timestamptz
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    UPDATE public.clock
    SET seen_at = clock_timestamp(), jumped = NULL, trusted_since = clock_timestamp(), accepted = accepted + 1
    RETURNING seen_at
$$;
COMMENT ON FUNCTION accept_clock() IS 'an operator says that this clock is right: every command-service trusts it from here on; answers the time';

-- Partitions ----------------------------------------------------------------
-- PARTITION OF locks the parent exclusively, which a busy server never grants in time. ATTACH takes
-- SHARE UPDATE EXCLUSIVE, which no write and no dump conflicts with. The table is empty, so there is nothing to scan.

CREATE FUNCTION ensure_partitions(parent text, days_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    parent_oid regclass;
    child      text;
    day        date;
    made       integer := 0;
BEGIN
    IF parent IS NULL OR parent NOT IN ('outbox', 'replies') THEN
        RAISE EXCEPTION 'not a partitioned log: %', parent;
    END IF;
    IF days_ahead IS NULL OR days_ahead NOT BETWEEN 0 AND 60 THEN
        RAISE EXCEPTION 'partitions are made for 0 to 60 days ahead, not %', days_ahead;
    END IF;
    -- One caller at a time: two replicas may start together.
    PERFORM pg_advisory_xact_lock(7166105001);
    parent_oid := to_regclass('public.' || parent);
    FOR day IN SELECT generate_series(current_date_utc() - 1, current_date_utc() + days_ahead, interval '1 day')::date LOOP
        child := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_inherits WHERE inhparent = parent_oid AND inhrelid = to_regclass('public.' || child));
        IF to_regclass('public.' || child) IS NULL THEN
            EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)', child, parent);
        END IF;
        EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            parent, child, day || ' 00:00:00+00', (day + 1) || ' 00:00:00+00');
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION ensure_partitions(text, integer) IS 'creates the daily partitions of outbox or replies, from yesterday to that many days ahead; answers how many';

-- For programs of the version before. Replies first: writers lock them first.
CREATE OR REPLACE FUNCTION ensure_partitions(days_ahead integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT public.ensure_partitions('replies', days_ahead);
    SELECT public.ensure_partitions('outbox', days_ahead);
$$;

CREATE FUNCTION partition_days_ahead(parent text) RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, public AS $$
    SELECT coalesce(min(day) FILTER (WHERE i.inhrelid IS NULL), 62) - 1
    FROM generate_series(0, 61) AS day
    LEFT JOIN pg_inherits AS i
        ON i.inhparent = to_regclass('public.' || parent)
       AND i.inhrelid = to_regclass(format('public.%s_%s', parent, to_char(public.current_date_utc() + day, 'YYYYMMDD')))
$$;
COMMENT ON FUNCTION partition_days_ahead(text) IS 'for how many days after today there are partitions without a gap; -1 if there is none for today';

-- What goes is older than a day by the clock and by the time since when the clock is trusted, and holds nothing from
-- keep_from on. Of the outbox only the oldest revisions go: a clock that was wrong may have put newer events into
-- partitions of earlier days, and what is left must have no hole. So the cut is the lowest revision that has to stay,
-- and what lies wholly below it goes. Partitions whose revisions overlap go together, or not at all.
CREATE FUNCTION drop_partitions(parent text, before timestamptz, keep_from bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    last_day date;
    child    text;
    is_old   boolean;
    lowest   bigint;
    highest  bigint;
    children text[] := '{}';
    olds     boolean[] := '{}';
    lows     bigint[] := '{}';
    highs    bigint[] := '{}';
    cut      bigint := coalesce(keep_from, 9223372036854775807);
    gone     integer := 0;
BEGIN
    IF parent IS NULL OR parent NOT IN ('outbox', 'replies') THEN
        RAISE EXCEPTION 'not a partitioned log: %', parent;
    END IF;
    IF before IS NULL OR before > now() - interval '1 day' THEN
        RAISE EXCEPTION 'partitions younger than a day are not dropped (asked for those before %)', before;
    END IF;
    IF before < (SELECT trusted_since FROM public.clock) THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(7166105001);
    last_day := (before AT TIME ZONE 'UTC')::date - 1;
    FOR child IN
        SELECT c.relname
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass('public.' || parent)
    LOOP
        -- The name says the day; the partition ends a day later. What has another name is not ours to drop.
        is_old := false;
        IF child ~ '_[0-9]{8}$' THEN
            is_old := to_date(right(child, 8), 'YYYYMMDD') <= last_day;
        END IF;
        IF parent = 'outbox' THEN
            EXECUTE format('SELECT min(revision), max(revision) FROM public.%I', child) INTO lowest, highest;
        END IF;
        children := children || child;
        olds := olds || is_old;
        lows := lows || lowest;
        highs := highs || highest;
    END LOOP;
    -- What has to stay may begin below the cut, and then it takes the cut with it.
    LOOP
        SELECT min(p.low) INTO lowest
        FROM unnest(olds, lows, highs) AS p (old_enough, low, high)
        WHERE NOT p.old_enough OR p.high >= cut;
        EXIT WHEN lowest IS NULL OR lowest >= cut;
        cut := lowest;
    END LOOP;
    FOR child IN
        SELECT p.name
        FROM unnest(children, olds, highs) AS p (name, old_enough, high)
        WHERE p.old_enough AND (p.high IS NULL OR p.high < cut)
        ORDER BY p.high NULLS FIRST, p.name
    LOOP
        IF parent = 'outbox' AND gone = 0 THEN
            PERFORM public.keep_head();
        END IF;
        EXECUTE format('DROP TABLE public.%I', child);
        gone := gone + 1;
    END LOOP;
    RETURN gone;
END $$;
COMMENT ON FUNCTION drop_partitions(text, timestamptz, bigint) IS
    'drops the daily partitions that end before that time and, of the outbox, hold no revision from keep_from on; answers how many';

-- For programs of the version before.
CREATE OR REPLACE FUNCTION drop_partitions(parent text, older_than interval) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT public.drop_partitions(parent, now() - older_than, NULL)
$$;

-- Turns of jobs -------------------------------------------------------------
-- The worker takes the running job with the oldest updated_at. A job that had its turn, or failed, goes behind all
-- others, also where some of them carry dates of a clock that was wrong.

CREATE FUNCTION end_turn_of_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    NEW.updated_at := greatest(NEW.updated_at,
        (SELECT max(updated_at) + interval '1 microsecond' FROM public.jobs WHERE state = 'running' AND job_id <> NEW.job_id));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION end_turn_of_job() IS 'puts a job behind all other running ones';
CREATE TRIGGER jobs_end_turn BEFORE UPDATE ON jobs
    FOR EACH ROW WHEN (NEW.state = 'running' AND NEW.updated_at IS DISTINCT FROM OLD.updated_at)
    EXECUTE FUNCTION end_turn_of_job();
