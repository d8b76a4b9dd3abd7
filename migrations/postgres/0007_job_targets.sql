-- Lists that jobs are to reach in a table of their own; cursors in columns; attempts of jobs whose steps fail.

-- Writers queue behind the changes of jobs, and behind the trigger of accounts.
SET LOCAL lock_timeout = '5s';

ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_kind_check CHECK (kind IN
    ('erase', 'archive', 'restore', 'make_public', 'replace_following', 'replace_list', 'import'));
-- A replacement's list is written before the command that starts the job locks the head.
ALTER TABLE jobs DROP CONSTRAINT jobs_state_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_state_check CHECK (state IN ('preparing', 'running', 'done', 'failed'));
ALTER TABLE jobs
    ADD COLUMN cursor_phase    text CHECK (cursor_phase IN ('live', 'archived', 'remove', 'add')),
    ADD COLUMN cursor_position bigint,
    ADD COLUMN cursor_done     bigint,
    ADD COLUMN attempts        integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN jobs.kind IS
    'what it does; replace_list keeps its list in job_targets, replace_following (0.1.0) kept it in cursor';
COMMENT ON COLUMN jobs.state           IS 'preparing (its list is being written), running, done or failed';
COMMENT ON COLUMN jobs.cursor          IS 'list of a replace_following job that 0.1.0 started; otherwise unused';
COMMENT ON COLUMN jobs.cursor_phase    IS 'edges that the next step reads: live or archived ones; or what it does to a list: remove or add';
COMMENT ON COLUMN jobs.cursor_position IS 'the next step begins after this position; null before the first step';
COMMENT ON COLUMN jobs.cursor_done     IS 'done at the start of this pass over the list; a pass without changes ends the job';
COMMENT ON COLUMN jobs.attempts        IS 'steps that failed since the last one that succeeded';

-- The worker takes the running job with the oldest step.
DROP INDEX jobs_running;
CREATE INDEX jobs_running ON jobs (updated_at) WHERE state = 'running';
CREATE INDEX jobs_preparing ON jobs (updated_at) WHERE state = 'preparing';

CREATE TABLE job_targets (
    job_id   uuid    NOT NULL,
    position integer NOT NULL,
    user_id  uuid    NOT NULL,
    PRIMARY KEY (job_id, position)
);
CREATE UNIQUE INDEX job_targets_by_user ON job_targets (user_id, job_id);
COMMENT ON TABLE  job_targets          IS 'accounts that a replace_list job makes its account follow; deleted in chunks after the job';
COMMENT ON COLUMN job_targets.job_id   IS 'the job';
COMMENT ON COLUMN job_targets.position IS 'order of adding: the last of the given list is 1';
COMMENT ON COLUMN job_targets.user_id  IS 'the account to follow';

-- An erased id must neither follow nor be followed again by a job that began before. A trigger, because 0.1.0 erases accounts, too, and
-- does not know this table. Rows of accounts without counts and flags are deleted as well: those are not erased.
CREATE FUNCTION forget_job_targets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    DELETE FROM public.job_targets WHERE user_id = OLD.user_id;
    UPDATE public.jobs SET state = 'failed', error = 'a later command took its place', updated_at = now()
    WHERE user_id = OLD.user_id AND kind = 'replace_list' AND state = 'running';
    RETURN NULL;
END $$;
COMMENT ON FUNCTION forget_job_targets() IS 'removes an erased account from the lists of jobs, and ends the job for its own list';
CREATE TRIGGER accounts_forget_job_targets AFTER DELETE ON accounts
    FOR EACH ROW WHEN (OLD.state = 'erasing') EXECUTE FUNCTION forget_job_targets();
