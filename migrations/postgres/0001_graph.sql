-- The source of truth: edges, accounts, the log head, the outbox, replies, jobs.
--
-- Written by command-service alone. Names of edge tables and their id columns are
-- those of the older system, whose operators' queries go on to work.

-- Edges -------------------------------------------------------------------
-- One table a kind, all of the same shape. `position` is the place in lists
-- (revision << 10 | index) and never changes while the edge lives; `revision`
-- is that of the last change.

CREATE TABLE follows (
    follower_id  uuid        NOT NULL,
    following_id uuid        NOT NULL,
    created_at   timestamptz NOT NULL,
    position     bigint      NOT NULL,
    revision     bigint      NOT NULL,
    PRIMARY KEY (follower_id, following_id),
    CHECK (follower_id <> following_id)
);
CREATE INDEX follows_by_target ON follows (following_id, position) INCLUDE (follower_id, created_at);
CREATE INDEX follows_by_source ON follows (follower_id, position) INCLUDE (following_id, created_at);
COMMENT ON TABLE  follows              IS 'who follows whom';
COMMENT ON COLUMN follows.follower_id  IS 'who follows';
COMMENT ON COLUMN follows.following_id IS 'who is followed';
COMMENT ON COLUMN follows.created_at   IS 'when the follow came to be; an import may say a date of the past';
COMMENT ON COLUMN follows.position     IS 'place in lists, newest first by descending value; unique';
COMMENT ON COLUMN follows.revision     IS 'revision of the last change';

CREATE TABLE mutes (
    muter_id   uuid        NOT NULL,
    muted_id   uuid        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    position   bigint      NOT NULL,
    revision   bigint      NOT NULL,
    PRIMARY KEY (muter_id, muted_id),
    CHECK (muter_id <> muted_id)
);
CREATE INDEX mutes_by_target ON mutes (muted_id, position) INCLUDE (muter_id, created_at);
CREATE INDEX mutes_by_source ON mutes (muter_id, position) INCLUDE (muted_id, created_at);
CREATE INDEX mutes_by_expiry ON mutes (expires_at) WHERE expires_at IS NOT NULL;
COMMENT ON TABLE  mutes            IS 'who has muted whom';
COMMENT ON COLUMN mutes.muter_id   IS 'who has muted';
COMMENT ON COLUMN mutes.muted_id   IS 'who is muted';
COMMENT ON COLUMN mutes.created_at IS 'when the mute came to be';
COMMENT ON COLUMN mutes.expires_at IS 'when it runs out; null for a permanent one';
COMMENT ON COLUMN mutes.position   IS 'place in lists; unique';
COMMENT ON COLUMN mutes.revision   IS 'revision of the last change';

CREATE TABLE blocks (
    blocker_id uuid        NOT NULL,
    blocked_id uuid        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    position   bigint      NOT NULL,
    revision   bigint      NOT NULL,
    PRIMARY KEY (blocker_id, blocked_id),
    CHECK (blocker_id <> blocked_id)
);
CREATE INDEX blocks_by_target ON blocks (blocked_id, position) INCLUDE (blocker_id, created_at);
CREATE INDEX blocks_by_source ON blocks (blocker_id, position) INCLUDE (blocked_id, created_at);
CREATE INDEX blocks_by_expiry ON blocks (expires_at) WHERE expires_at IS NOT NULL;
COMMENT ON TABLE  blocks            IS 'who has blocked whom';
COMMENT ON COLUMN blocks.blocker_id IS 'who has blocked';
COMMENT ON COLUMN blocks.blocked_id IS 'who is blocked';
COMMENT ON COLUMN blocks.created_at IS 'when the block came to be';
COMMENT ON COLUMN blocks.expires_at IS 'when it runs out; null for a permanent one';
COMMENT ON COLUMN blocks.position   IS 'place in lists; unique';
COMMENT ON COLUMN blocks.revision   IS 'revision of the last change';

CREATE TABLE follow_requests (
    requester_id uuid        NOT NULL,
    target_id    uuid        NOT NULL,
    created_at   timestamptz NOT NULL,
    position     bigint      NOT NULL,
    revision     bigint      NOT NULL,
    PRIMARY KEY (requester_id, target_id),
    CHECK (requester_id <> target_id)
);
CREATE INDEX follow_requests_by_target ON follow_requests (target_id, position) INCLUDE (requester_id, created_at);
CREATE INDEX follow_requests_by_source ON follow_requests (requester_id, position) INCLUDE (target_id, created_at);
COMMENT ON TABLE  follow_requests              IS 'pending requests to follow a private account';
COMMENT ON COLUMN follow_requests.requester_id IS 'who asks';
COMMENT ON COLUMN follow_requests.target_id    IS 'who is asked';
COMMENT ON COLUMN follow_requests.created_at   IS 'when it was asked';
COMMENT ON COLUMN follow_requests.position     IS 'place in lists; unique';
COMMENT ON COLUMN follow_requests.revision     IS 'revision of the last change';

-- Edges of archived accounts, hidden from every list, count and check. An edge
-- comes back, with its old date and place, when both ends are active.

CREATE TABLE archived_follows         (LIKE follows         INCLUDING ALL);
CREATE TABLE archived_mutes           (LIKE mutes           INCLUDING ALL);
CREATE TABLE archived_blocks          (LIKE blocks          INCLUDING ALL);
CREATE TABLE archived_follow_requests (LIKE follow_requests INCLUDING ALL);
COMMENT ON TABLE archived_follows         IS 'follows with an archived end';
COMMENT ON TABLE archived_mutes           IS 'mutes with an archived end';
COMMENT ON TABLE archived_blocks          IS 'blocks with an archived end';
COMMENT ON TABLE archived_follow_requests IS 'follow requests with an archived end';

-- Accounts ----------------------------------------------------------------
-- A row appears with the first edge or flag. Counts change in the transaction
-- that changes the edges. Half-full pages, so that counts are updated in place.

CREATE TABLE accounts (
    user_id           uuid    PRIMARY KEY,
    followers         bigint  NOT NULL DEFAULT 0 CHECK (followers >= 0),
    following         bigint  NOT NULL DEFAULT 0 CHECK (following >= 0),
    muting            bigint  NOT NULL DEFAULT 0 CHECK (muting >= 0),
    blocking          bigint  NOT NULL DEFAULT 0 CHECK (blocking >= 0),
    requests_sent     bigint  NOT NULL DEFAULT 0 CHECK (requests_sent >= 0),
    requests_received bigint  NOT NULL DEFAULT 0 CHECK (requests_received >= 0),
    private           boolean NOT NULL DEFAULT false,
    state             text    NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'archived', 'erasing'))
) WITH (fillfactor = 60);
COMMENT ON TABLE  accounts                   IS 'counts and flags of every account that ever had an edge or a flag';
COMMENT ON COLUMN accounts.user_id           IS 'the account';
COMMENT ON COLUMN accounts.followers         IS 'rows of follows that end here';
COMMENT ON COLUMN accounts.following         IS 'rows of follows that start here';
COMMENT ON COLUMN accounts.muting            IS 'rows of mutes that start here';
COMMENT ON COLUMN accounts.blocking          IS 'rows of blocks that start here';
COMMENT ON COLUMN accounts.requests_sent     IS 'rows of follow_requests that start here';
COMMENT ON COLUMN accounts.requests_received IS 'rows of follow_requests that end here';
COMMENT ON COLUMN accounts.private           IS 'follows need its consent';
COMMENT ON COLUMN accounts.state             IS 'active; archived: its edges are hidden; erasing: nothing new may touch it';

-- The log -----------------------------------------------------------------

CREATE TABLE log_head (
    singleton boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch     bigint      NOT NULL CHECK (epoch >= 1),
    revision  bigint      NOT NULL CHECK (revision >= 0),
    event_id  uuid,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);
INSERT INTO log_head (epoch, revision) VALUES (1, 0);
COMMENT ON TABLE  log_head            IS 'one row: the newest revision; every writer locks it first, so the order of revisions is the order of commits';
COMMENT ON COLUMN log_head.epoch      IS 'number of the history; a recovery opens another';
COMMENT ON COLUMN log_head.revision   IS 'newest revision; 0 before the first';
COMMENT ON COLUMN log_head.event_id   IS 'event_id of that revision';
COMMENT ON COLUMN log_head.updated_at IS 'time of the last commit that changed it';

CREATE TABLE outbox (
    revision     bigint      NOT NULL,
    epoch        bigint      NOT NULL,
    event_id     uuid        NOT NULL,
    prev_id      uuid,
    batch_id     uuid        NOT NULL,
    verb         text        NOT NULL,
    payload      bytea       NOT NULL,
    traceparent  text,
    committed_at timestamptz NOT NULL,
    PRIMARY KEY (revision, committed_at)
) PARTITION BY RANGE (committed_at);
CREATE INDEX outbox_by_batch ON outbox (batch_id);
COMMENT ON TABLE  outbox              IS 'every event, until the stream and the slowest projector no longer need it; partitions by day, dropped whole';
COMMENT ON COLUMN outbox.revision     IS 'revision of the event and its sequence number in the stream';
COMMENT ON COLUMN outbox.epoch        IS 'history that it belongs to';
COMMENT ON COLUMN outbox.event_id     IS 'random, names this event alone';
COMMENT ON COLUMN outbox.prev_id      IS 'event_id of the revision before';
COMMENT ON COLUMN outbox.batch_id     IS 'transaction that wrote it; tells whether a commit whose reply was lost went through';
COMMENT ON COLUMN outbox.verb         IS 'last part of the subject';
COMMENT ON COLUMN outbox.payload      IS 'followgraph.event.v1.Event, protobuf';
COMMENT ON COLUMN outbox.traceparent  IS 'W3C trace context of the command';
COMMENT ON COLUMN outbox.committed_at IS 'time of the transaction';

CREATE TABLE replies (
    actor_id    uuid        NOT NULL,
    request_id  uuid        NOT NULL,
    fingerprint bytea       NOT NULL,
    response    bytea       NOT NULL,
    created_at  timestamptz NOT NULL
) PARTITION BY RANGE (created_at);
-- Not unique: uniqueness cannot reach across partitions. Every writer looks and
-- inserts under the lock on log_head, which makes it so.
CREATE INDEX replies_by_request ON replies (actor_id, request_id);
COMMENT ON TABLE  replies             IS 'idempotency records, kept at least 24 hours; partitions by day, dropped whole';
COMMENT ON COLUMN replies.actor_id    IS 'who asked';
COMMENT ON COLUMN replies.request_id  IS 'idempotency key, unique per actor';
COMMENT ON COLUMN replies.fingerprint IS 'digest of the command, to refuse another one under the same key';
COMMENT ON COLUMN replies.response    IS 'the first answer';
COMMENT ON COLUMN replies.created_at  IS 'time of the transaction';

-- Jobs and projectors -----------------------------------------------------

CREATE TABLE jobs (
    job_id     uuid        PRIMARY KEY,
    kind       text        NOT NULL CHECK (kind IN ('erase', 'archive', 'restore', 'make_public', 'replace_following', 'import')),
    user_id    uuid        NOT NULL,
    request_id uuid,
    state      text        NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    done       bigint      NOT NULL DEFAULT 0,
    total      bigint      NOT NULL DEFAULT 0,
    cursor     bytea,
    error      text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX jobs_running ON jobs (created_at) WHERE state = 'running';
CREATE INDEX jobs_by_user ON jobs (user_id);
COMMENT ON TABLE  jobs            IS 'changes too large for one event, done in chunks, resumable';
COMMENT ON COLUMN jobs.job_id     IS 'the job';
COMMENT ON COLUMN jobs.kind       IS 'what it does';
COMMENT ON COLUMN jobs.user_id    IS 'the account that it is about';
COMMENT ON COLUMN jobs.request_id IS 'idempotency key of the command that started it';
COMMENT ON COLUMN jobs.state      IS 'running, done or failed';
COMMENT ON COLUMN jobs.done       IS 'changes made so far';
COMMENT ON COLUMN jobs.total      IS 'changes to make, as counted at the start';
COMMENT ON COLUMN jobs.cursor     IS 'where to go on';
COMMENT ON COLUMN jobs.error      IS 'why it failed';
COMMENT ON COLUMN jobs.created_at IS 'when it was asked for';
COMMENT ON COLUMN jobs.updated_at IS 'when it last went on';

CREATE TABLE projectors (
    name     text        PRIMARY KEY,
    epoch    bigint      NOT NULL,
    revision bigint      NOT NULL,
    seen_at  timestamptz NOT NULL
);
COMMENT ON TABLE  projectors          IS 'read models heard of, so that the outbox is not pruned ahead of them';
COMMENT ON COLUMN projectors.name     IS 'name of the projector';
COMMENT ON COLUMN projectors.epoch    IS 'history that it follows';
COMMENT ON COLUMN projectors.revision IS 'newest revision that it has applied';
COMMENT ON COLUMN projectors.seen_at  IS 'when it was last heard of';

-- Partitions --------------------------------------------------------------
-- Functions of the owner, so that the service that calls them needs no right to
-- create or drop tables.

CREATE FUNCTION current_date_utc() RETURNS date
LANGUAGE sql STABLE AS $$ SELECT (now() AT TIME ZONE 'UTC')::date $$;
COMMENT ON FUNCTION current_date_utc() IS 'today in UTC, whatever the session says';

CREATE FUNCTION ensure_partitions(days_ahead integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    parent text;
    day    date;
    child  text;
BEGIN
    -- One caller at a time: two replicas may start together.
    PERFORM pg_advisory_xact_lock(7166105001);
    FOREACH parent IN ARRAY ARRAY['outbox', 'replies'] LOOP
        FOR day IN SELECT generate_series(current_date_utc() - 1, current_date_utc() + days_ahead, interval '1 day')::date LOOP
            child := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
            IF to_regclass('public.' || child) IS NULL THEN
                EXECUTE format('CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)',
                    child, parent, day || ' 00:00:00+00', (day + 1) || ' 00:00:00+00');
            END IF;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION ensure_partitions(integer) IS 'creates the daily partitions of outbox and replies, from yesterday to so many days ahead';

CREATE FUNCTION drop_partitions(parent text, older_than interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    child   text;
    dropped integer := 0;
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
          -- The name says the day; the partition ends a day later.
          AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= ((now() - older_than) AT TIME ZONE 'UTC')::date
    LOOP
        EXECUTE format('DROP TABLE public.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
COMMENT ON FUNCTION drop_partitions(text, interval) IS 'drops the daily partitions whose last row is older than that; answers how many';

-- Recovery ----------------------------------------------------------------

CREATE FUNCTION open_epoch() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    opened bigint;
BEGIN
    -- Unix time, so that no number is given out twice, even after a restore.
    UPDATE log_head SET epoch = greatest(epoch + 1, extract(epoch FROM now())::bigint) RETURNING epoch INTO opened;
    -- What was published of the old history and what was not can no longer be told
    -- apart; the new stream begins after the head, and readers sweep.
    TRUNCATE outbox;
    RETURN opened;
END $$;
COMMENT ON FUNCTION open_epoch() IS 'begins a new history after a fork: a new stream, swept read models, new tokens; answers its number';

SELECT ensure_partitions(7);
