-- Several requests may ask for one erase, and only the first of them starts the job. A repeat of each is known by that job:
-- the end of the erase deletes the idempotency records of its account.

-- Writers queue behind the foreign key on jobs.
SET LOCAL lock_timeout = '5s';

CREATE TABLE erase_requests (
    user_id    uuid NOT NULL,
    request_id uuid NOT NULL,
    -- Processes of earlier versions delete old jobs, too, and do not know this table.
    job_id     uuid NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, request_id)
);
CREATE INDEX erase_requests_by_job ON erase_requests (job_id);
COMMENT ON TABLE  erase_requests            IS 'requests that were answered with an erase job; deleted with the job';
COMMENT ON COLUMN erase_requests.user_id    IS 'the erased account';
COMMENT ON COLUMN erase_requests.request_id IS 'the request_id of EraseAccount';
COMMENT ON COLUMN erase_requests.job_id     IS 'the job that the request started, or that was running already';

COMMENT ON INDEX jobs_erases IS 'finds the request that started an erase in a process that does not know erase_requests';
