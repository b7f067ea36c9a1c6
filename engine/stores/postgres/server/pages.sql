-- pages_version --
-- What a statement sees at present: while this is the same, nothing was committed. A snapshot names the transactions that
-- have ended; those of a standby do not, and have no version.
SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_postmaster_start_time()::text || ' ' || pg_current_snapshot()::text END;

-- layouts --
-- What `page` knows of the configuration.
SELECT channel, domains, identity, requires FROM layouts;

-- keep_layout --
-- Tells `page` what it must know of a channel.
INSERT INTO layouts (channel, domains, identity, requires) VALUES ($1, $2, $3, $4)
ON CONFLICT (channel) DO UPDATE SET
    domains = excluded.domains, identity = excluded.identity, requires = excluded.requires;

-- drop_layouts --
-- Forgets the channels that are not in an array.
DELETE FROM layouts WHERE channel <> ALL ($1::text[]);
