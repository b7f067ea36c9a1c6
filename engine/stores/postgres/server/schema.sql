-- server --
-- What must be known of the server before it is used.
SELECT current_setting('server_version_num')::integer AS version, current_setting('server_version') AS name,
       current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes;

-- has_migrations --
-- Whether the schema is there, and a store in it.
SELECT to_regclass('migrations') IS NOT NULL;

-- current_version --
-- The number of the newest migration that was applied.
SELECT coalesce(max(number), 0) FROM migrations;

-- lock_schema --
-- Keeps others from changing the schema, which need not exist yet, until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(current_setting('search_path'), 1));

-- create_schema --
-- Makes the schema that this connection works in, unless an administrator did.
DO $$
BEGIN
    IF to_regnamespace(current_setting('search_path')) IS NULL THEN
        EXECUTE format('CREATE SCHEMA %I', current_setting('search_path'));
    END IF;
END
$$;

-- create_migrations --
-- Creates the table of applied migrations.
CREATE TABLE IF NOT EXISTS migrations (
    number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
);

-- migrated --
-- Remembers a migration.
INSERT INTO migrations (number, name) VALUES ($1, $2);

-- why_read_only --
-- Why nothing can be written over this connection; null where it can.
SELECT CASE
    WHEN pg_is_in_recovery() THEN 'this server is a hot standby'
    WHEN current_setting('transaction_read_only') = 'on' THEN 'default_transaction_read_only is on'
END;
