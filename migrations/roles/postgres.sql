-- Who may do what in PostgreSQL: one role for each service, and nothing for anybody else.
--
-- `followgraph migrate --roles` runs this after the migrations, as the owner of the schema, in one
-- transaction; so may psql:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file postgres.sql "$DATABASE_URL"
--
-- It can be run again at any time, and must be after a migration that adds a table. The owner needs
-- CREATEROLE where the roles are not there yet. Where somebody else makes roles (an operator of a
-- database service, say), make the three first, with LOGIN and the settings below; what the owner may
-- not set is warned of.
--
-- No password is set here: a role without one cannot log in. `followgraph migrate --roles` sets those
-- that its environment names; psql has \password.

DO $$
DECLARE
    service record;
    setting record;
BEGIN
    FOR service IN
        SELECT * FROM (VALUES
            -- Connections: all processes of a service together, for a server that takes 200. A command-service
            -- takes up to DATABASE_MAX_CONNECTIONS + 6, so that four of them fit, a query-service
            -- FALLBACK_CONCURRENCY + 4; what the limit refuses, Neo4j answers or nobody, but the writer goes on.
            ('followgraph_command',   90, false),
            ('followgraph_query',     80, true),
            ('followgraph_projector', 20, true)
        ) AS x(role, connections, only_reads)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service.role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT
                            CONNECTION LIMIT %s', service.role, service.connections);
        END IF;
        -- Defaults of its sessions: for hands in psql; the services bring limits of their own. What a
        -- role may not do is for the grants below to say, a session can change these. One that somebody has
        -- set already stays. A role that somebody else has made is perhaps not ours to alter.
        FOR setting IN
            SELECT * FROM (VALUES
                ('statement_timeout', '10s'),
                ('idle_in_transaction_session_timeout', '5s'),
                ('default_transaction_read_only', CASE WHEN service.only_reads THEN 'on' ELSE 'off' END)
            ) AS x(name, value)
        LOOP
            CONTINUE WHEN EXISTS (
                SELECT FROM pg_roles AS r, unnest(r.rolconfig) AS config
                WHERE r.rolname = service.role AND starts_with(config, setting.name || '=')
            );
            BEGIN
                EXECUTE format('ALTER ROLE %I SET %I = %L', service.role, setting.name, setting.value);
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE WARNING 'role % has no % of its own, and % may not set it', service.role, setting.name, current_user
                    USING HINT = format('As a superuser: ALTER ROLE %I SET %I = %L', service.role, setting.name, setting.value);
            END;
        END LOOP;
    END LOOP;
END $$;

-- Nothing for everybody -----------------------------------------------------
-- PostgreSQL lets everybody connect to a new database and call new functions; some functions here
-- act with the owner's rights.

DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO followgraph_command, followgraph_query, followgraph_projector',
        current_database());
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- What an earlier version of this script may have granted, and what everybody has. Only what is ours:
-- extensions may have put tables and functions of theirs into the schema.
DO $$
DECLARE
    ours text;
BEGIN
    FOR ours IN
        SELECT format('TABLE %s', oid::regclass) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND pg_has_role(relowner, 'USAGE')
        UNION ALL
        SELECT format('FUNCTION %s', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND pg_has_role(proowner, 'USAGE')
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, followgraph_command, followgraph_query, followgraph_projector',
            ours);
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO followgraph_command, followgraph_query, followgraph_projector;

-- Every service checks the schema's version at its start.
GRANT SELECT ON _sqlx_migrations TO followgraph_command, followgraph_query, followgraph_projector;

-- command-service: writes ---------------------------------------------------
-- No table is its own: it can neither change a table nor drop one. Events are added and never changed;
-- old ones go with their partition, by a function of the owner.

GRANT SELECT, INSERT, UPDATE, DELETE ON
    follows, mutes, blocks, follow_requests,
    archived_follows, archived_mutes, archived_blocks, archived_follow_requests,
    accounts, jobs
    TO followgraph_command;
GRANT SELECT, INSERT, DELETE ON job_targets TO followgraph_command;
-- Its rows go with their jobs.
GRANT SELECT, INSERT, UPDATE ON erase_requests TO followgraph_command;
-- It locks the row of log_lock, and records a fork there. Opening an epoch is for the owner.
GRANT SELECT, UPDATE (fork) ON log_lock TO followgraph_command;
-- The release before locks the same row through the view, and updates it in vain.
GRANT SELECT, UPDATE ON log_head TO followgraph_command;
GRANT EXECUTE ON FUNCTION newest_event() TO followgraph_command, followgraph_query, followgraph_projector;
GRANT SELECT, INSERT ON outbox TO followgraph_command;
GRANT SELECT, INSERT, DELETE ON replies TO followgraph_command;
GRANT SELECT, INSERT, UPDATE ON projectors TO followgraph_command;
GRANT EXECUTE ON FUNCTION
    ensure_partitions(integer), ensure_partitions(text, integer), partition_days_ahead(text), current_date_utc(),
    drop_partitions(text, interval), drop_partitions(text, timestamptz, bigint)
    TO followgraph_command;
-- It notes that it distrusts the clock; that an operator accepts it is for the owner to say.
GRANT SELECT, UPDATE (seen_at, jumped, trusted_since) ON clock TO followgraph_command;

-- query-service: reads what it may show -------------------------------------
-- Not the archive (hidden means hidden), not the idempotency records, not the jobs.

GRANT SELECT ON follows, mutes, blocks, follow_requests, accounts, log_head, outbox TO followgraph_query;

-- projector: reads what it copies -------------------------------------------

GRANT SELECT ON follows, mutes, blocks, follow_requests, log_head, outbox TO followgraph_projector;
-- It compares sums of the counts; whose they are is not its matter.
GRANT SELECT (following, followers, muting, blocking, requests_sent, requests_received)
    ON accounts TO followgraph_projector;
GRANT EXECUTE ON FUNCTION sum_counts(uuid, integer) TO followgraph_projector;
