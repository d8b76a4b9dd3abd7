-- The lock of all writers is a row that commits do not change.
--
-- Each commit updated the one row of log_head. While a snapshot is open (pg_dump, a query on a standby with feedback, a
-- forgotten session) PostgreSQL keeps all versions of such a row, and every reader of the head scans them. Now the head
-- is the newest row of the outbox, found by its index, and log_lock keeps what is not in the outbox.
--
-- log_head stays as a view with its old columns: programs of the release before lock the same row through it, and what
-- they write to it is already in the outbox.

-- Writers queue behind the rename; a dump that runs must not hold them up for its whole time.
SET LOCAL lock_timeout = '5s';

ALTER TABLE log_head RENAME TO log_lock;
ALTER TABLE log_lock RENAME CONSTRAINT log_head_pkey TO log_lock_pkey;
ALTER TABLE log_lock RENAME COLUMN revision TO pruned_revision;
ALTER TABLE log_lock RENAME COLUMN event_id TO pruned_event_id;
ALTER TABLE log_lock RENAME COLUMN updated_at TO pruned_at;
ALTER TABLE log_lock
    ADD COLUMN fork text,
    ADD COLUMN replace_streams_before bigint NOT NULL DEFAULT 0;
COMMENT ON TABLE  log_lock IS 'one row that every writer locks first, so that the order of revisions is the order of commits; commits do not change it';
COMMENT ON COLUMN log_lock.epoch IS 'number of the history; a recovery opens another';
COMMENT ON COLUMN log_lock.pruned_revision IS 'head when the outbox was last pruned: the head until a newer event is in the outbox';
COMMENT ON COLUMN log_lock.pruned_event_id IS 'event_id of that revision';
COMMENT ON COLUMN log_lock.pruned_at IS 'time of its commit';
COMMENT ON COLUMN log_lock.database_id IS 'names this database; a restored copy keeps it until a recovery';
COMMENT ON COLUMN log_lock.fork IS 'what the relay found if the stream holds another history of this epoch: commands are refused until a recovery';
COMMENT ON COLUMN log_lock.replace_streams_before IS 'an operator gave up the streams of earlier epochs than this one: the relay may delete them';

CREATE TYPE log_position AS (revision bigint, event_id uuid, committed_at timestamptz);
COMMENT ON TYPE log_position IS 'an event of the outbox, as far as the head needs it';

-- A function of its own for its plan: it is made once per session, and must descend the index of each partition even
-- where statistics say that a partition is empty. It sees what the calling statement sees.
CREATE FUNCTION newest_event() RETURNS log_position
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, public SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    newest log_position;
BEGIN
    SELECT revision, event_id, committed_at INTO newest FROM outbox ORDER BY revision DESC LIMIT 1;
    RETURN newest;
END $$;
COMMENT ON FUNCTION newest_event() IS 'the newest event of the outbox; nulls if it is empty';

-- What log_lock keeps counts where it is newer: after a jump of the clock the rows that are left may be the older ones.
-- OFFSET 0 keeps the function to one call for all columns.
CREATE VIEW log_head AS
SELECT l.epoch,
       greatest((l.newest).revision, l.pruned_revision) AS revision,
       CASE WHEN (l.newest).revision > l.pruned_revision THEN (l.newest).event_id ELSE l.pruned_event_id END AS event_id,
       CASE WHEN (l.newest).revision > l.pruned_revision THEN (l.newest).committed_at ELSE l.pruned_at END AS updated_at,
       l.database_id
FROM (SELECT epoch, database_id, pruned_revision, pruned_event_id, pruned_at, newest_event() AS newest
      FROM log_lock OFFSET 0) AS l;
COMMENT ON VIEW   log_head            IS 'the newest revision: that of the newest event of the outbox, or the one that log_lock keeps';
COMMENT ON COLUMN log_head.epoch      IS 'number of the history; a recovery opens another';
COMMENT ON COLUMN log_head.revision   IS 'newest revision; 0 before the first';
COMMENT ON COLUMN log_head.event_id   IS 'event_id of that revision';
COMMENT ON COLUMN log_head.updated_at IS 'time of the last commit';
COMMENT ON COLUMN log_head.database_id IS 'names this database';

CREATE FUNCTION log_head_was_updated() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    IF (NEW.epoch, NEW.database_id) IS DISTINCT FROM (OLD.epoch, OLD.database_id) THEN
        RAISE EXCEPTION 'log_head is a view' USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Update log_lock, or run followgraph recover.';
    END IF;
    IF (SELECT fork IS NOT NULL FROM log_lock) THEN
        RAISE EXCEPTION 'the history is forked' USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Open a new epoch: followgraph recover.';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION log_head_was_updated() IS 'takes the update that the release before makes with each commit, and changes nothing';
CREATE TRIGGER log_head_was_updated INSTEAD OF UPDATE ON log_head
    FOR EACH ROW EXECUTE FUNCTION log_head_was_updated();

-- The view is for the roles that the table was for.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee, a.privilege_type AS privilege
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = 'log_lock'::regclass AND a.grantee <> c.relowner AND a.privilege_type IN ('SELECT', 'UPDATE')
    LOOP
        EXECUTE format('GRANT %s ON log_head TO %s', granted.privilege, granted.grantee);
    END LOOP;
END $$;

-- Keeping the head ------------------------------------------------------------
-- Whatever removes rows of the outbox must call this first, in the same transaction.

CREATE FUNCTION keep_head() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    -- The lock is a statement of its own: what is read after it is as of the lock, and stays so.
    PERFORM FROM log_lock FOR UPDATE;
    UPDATE log_lock SET (pruned_revision, pruned_event_id, pruned_at) =
        (SELECT revision, event_id, updated_at FROM log_head);
END $$;
COMMENT ON FUNCTION keep_head() IS 'locks log_lock and writes the head into it, before rows of the outbox are removed';
REVOKE ALL ON FUNCTION keep_head() FROM PUBLIC;

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
        IF parent = 'outbox' AND dropped = 0 THEN
            PERFORM keep_head();
        END IF;
        EXECUTE format('DROP TABLE public.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

-- Recovery ----------------------------------------------------------------------

CREATE FUNCTION open_epoch(replace_streams boolean) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    opened bigint;
BEGIN
    PERFORM keep_head();
    -- Unix time, so that no number is given out twice, even after a restore. Another id: a restored copy is another
    -- database than the one that it was copied from.
    UPDATE log_lock
    SET epoch = greatest(epoch + 1, extract(epoch FROM now())::bigint), database_id = gen_random_uuid(), fork = NULL
    RETURNING epoch INTO opened;
    -- A restored copy has an old date here, which says nothing about this clock.
    UPDATE clock SET seen_at = NULL;
    IF replace_streams THEN
        UPDATE log_lock SET replace_streams_before = opened;
    END IF;
    -- What was published of the old history and what was not cannot be told apart any more; the new stream begins
    -- after the head, and readers sweep.
    TRUNCATE outbox;
    RETURN opened;
END $$;
COMMENT ON FUNCTION open_epoch(boolean) IS 'begins a new history after a fork or a restore, and lets the relay delete the streams of earlier ones if so asked; answers its number';
REVOKE ALL ON FUNCTION open_epoch(boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION open_epoch() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$ SELECT open_epoch(false) $$;
COMMENT ON FUNCTION open_epoch() IS 'begins a new history without touching the streams of earlier ones; for the release before';

CREATE FUNCTION give_up_streams() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    UPDATE log_lock SET replace_streams_before = epoch RETURNING epoch
$$;
COMMENT ON FUNCTION give_up_streams() IS 'lets the relay delete the streams of earlier epochs than the present one; answers its number';
REVOKE ALL ON FUNCTION give_up_streams() FROM PUBLIC;
