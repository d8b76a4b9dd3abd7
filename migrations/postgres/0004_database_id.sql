-- Which database it is: an epoch and a revision alone do not tell two of them apart.

ALTER TABLE log_head ADD COLUMN database_id uuid NOT NULL DEFAULT gen_random_uuid();
COMMENT ON COLUMN log_head.database_id IS 'names this database; a restored copy keeps it';
