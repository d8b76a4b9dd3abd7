-- Permissions in PostgreSQL: one role for each service, and none for other roles.
--
-- `followgraph migrate --roles` runs this after the migrations, as the owner of the schema, in one
-- transaction; so may psql:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file postgres.sql "$DATABASE_URL"
--
-- It can be run again at any time. Run it after a migration that adds a table. If the roles do not
-- exist, the owner needs CREATEROLE. If only another role may create roles (as in a managed database),
-- create the three first, with LOGIN and the settings below; the script warns of those that the owner
-- may not set.
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
            -- FALLBACK_CONCURRENCY + 4. Reads beyond the limit are left to Neo4j; writes continue.
            ('followgraph_command',   90, false),
            ('followgraph_query',     80, true),
            ('followgraph_projector', 20, true)
        ) AS x(role, connections, only_reads)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service.role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT
                            CONNECTION LIMIT %s', service.role, service.connections);
        END IF;
        -- Defaults for people in psql; the services set their own limits. A session can change them, so
        -- they protect nothing: the grants below do. A default that is already set stays. The owner may
        -- lack the right to alter a role that another role has created.
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

-- Nothing for PUBLIC --------------------------------------------------------
-- By default every role may connect to a new database and call new functions; some functions here
-- run with the owner's rights.

DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO followgraph_command, followgraph_query, followgraph_projector',
        current_database());
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- Revokes the grants of earlier versions of this script, and those of PUBLIC. Only on the owner's tables
-- and functions: those of extensions may be in the schema too.
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
-- It owns no table, so it can neither alter nor drop one. It adds events and never changes them; a
-- function of the owner drops old ones with their partition.

GRANT SELECT, INSERT, UPDATE, DELETE ON
    follows, mutes, blocks, follow_requests,
    archived_follows, archived_mutes, archived_blocks, archived_follow_requests,
    accounts, jobs
    TO followgraph_command;
GRANT SELECT, INSERT, DELETE ON job_targets TO followgraph_command;
-- Its rows are deleted with their jobs.
GRANT SELECT, INSERT, UPDATE ON erase_requests TO followgraph_command;
-- It locks the row of log_lock, and records a fork there. Opening an epoch is for the owner.
GRANT SELECT, UPDATE (fork) ON log_lock TO followgraph_command;
-- The previous release locks the same row through the view, and updates it without effect.
GRANT SELECT, UPDATE ON log_head TO followgraph_command;
GRANT EXECUTE ON FUNCTION newest_event() TO followgraph_command, followgraph_query, followgraph_projector;
GRANT SELECT, INSERT ON outbox TO followgraph_command;
GRANT SELECT, INSERT, DELETE ON replies TO followgraph_command;
GRANT SELECT, INSERT, UPDATE ON projectors TO followgraph_command;
GRANT EXECUTE ON FUNCTION
    ensure_partitions(integer), ensure_partitions(text, integer), partition_days_ahead(text), current_date_utc(),
    drop_partitions(text, interval), drop_partitions(text, timestamptz, bigint)
    TO followgraph_command;
-- It records that it distrusts the clock; only the owner may accept the clock.
GRANT SELECT, UPDATE (seen_at, jumped, trusted_since) ON clock TO followgraph_command;

-- query-service: reads what it may show -------------------------------------
-- Not the archive (hidden means hidden), not the idempotency records, not the jobs.

GRANT SELECT ON follows, mutes, blocks, follow_requests, accounts, log_head, outbox TO followgraph_query;

-- projector: reads what it copies -------------------------------------------

GRANT SELECT ON follows, mutes, blocks, follow_requests, log_head, outbox TO followgraph_projector;
-- It compares sums of the counts, without the ids of the accounts.
GRANT SELECT (following, followers, muting, blocking, requests_sent, requests_received)
    ON accounts TO followgraph_projector;
GRANT EXECUTE ON FUNCTION sum_counts(uuid, integer) TO followgraph_projector;
