-- Accounts on their way back from the archive, and jobs by account and kind.

ALTER TABLE accounts DROP CONSTRAINT accounts_state_check;
ALTER TABLE accounts ADD CONSTRAINT accounts_state_check
    CHECK (state IN ('active', 'archived', 'restoring', 'erasing'));
COMMENT ON COLUMN accounts.state IS
    'active; archived: its edges are hidden; restoring: they are coming back; erasing: nothing new may touch it';

-- The worker takes the oldest; a command finds the running one of its account.
DROP INDEX jobs_by_user;
CREATE INDEX jobs_by_user ON jobs (user_id, kind) WHERE state = 'running';
COMMENT ON COLUMN jobs.cursor IS 'where to go on: bincode, written and read by command-service alone';

-- A commit in doubt is looked up at the revision that it would have.
DROP INDEX outbox_by_batch;
