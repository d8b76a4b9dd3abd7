-- A repeat of an erase is known by its job: the end of the erase deletes the idempotency records of its account.

-- Writers queue behind the index on jobs.
SET LOCAL lock_timeout = '5s';

CREATE INDEX jobs_erases ON jobs (user_id, request_id) WHERE kind = 'erase';
