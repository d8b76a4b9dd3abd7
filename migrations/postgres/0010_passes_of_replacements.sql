-- The passes over a replacement's list in a column of their own.

-- Writers queue behind the change of jobs.
SET LOCAL lock_timeout = '5s';

ALTER TABLE jobs ADD COLUMN cursor_passes smallint;
COMMENT ON COLUMN jobs.cursor_passes IS 'passes over the list that are complete; a replacement ends after a few of them';
