-- Many events are copied into the log, which takes half the work of `append_events`. The client then holds the lock of the
-- log while it sends them. If it freezes meanwhile, no timeout of the server counts, as the session is neither idle nor
-- waits for a lock. So whoever has waited for the lock as long as its own session may idle in a transaction ends the
-- session of such a holder. Only needed where the lock is not free.
CREATE FUNCTION wait_for_log(log_key bigint) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    patience CONSTANT text := current_setting('idle_in_transaction_session_timeout');
    lock_timeout_before CONSTANT text := current_setting('lock_timeout');
BEGIN
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', patience, true);
            PERFORM pg_advisory_xact_lock(log_key);
            PERFORM set_config('lock_timeout', lock_timeout_before, true);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_terminate_backend(pid)
            FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND granted AND objsubid = 1
                AND classid::bigint = (log_key >> 32 & 4294967295) AND objid::bigint = (log_key & 4294967295)
                AND datname = current_database() AND usename = current_user
                AND state = 'active' AND wait_event = 'ClientRead'
                AND query_start < clock_timestamp() - patience::interval;
        END;
    END LOOP;
END
$$;

-- Takes the lock of the log until the end of the transaction. Returns false where the log's epochs are not those that the
-- caller knows: another number of events has raised them (unless `generation` is null), or one of `streams` has a version
-- as high as its ceiling. Everything is checked under the lock: whatever was committed before is seen, and nobody commits
-- between the check and the append.
CREATE FUNCTION lock_log(generation bigint, streams text[], ceilings bigint[]) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    log_key CONSTANT bigint := hashtextextended(current_schema(), 0);
BEGIN
    IF NOT pg_try_advisory_xact_lock(log_key) THEN
        PERFORM wait_for_log(log_key);
    END IF;
    IF generation <> (
        SELECT coalesce(max(raised.originator_version), -1) + 1 FROM stored_events AS raised
        WHERE raised.originator_id = 'pagefold-epochs'
    ) OR EXISTS (
        SELECT FROM unnest(streams, ceilings) AS fenced (stream, ceiling)
        JOIN stored_events AS beyond
            ON beyond.originator_id = fenced.stream AND beyond.originator_version >= fenced.ceiling
    ) THEN
        RETURN false;
    END IF;
    IF EXISTS (
        SELECT FROM (
            SELECT position, mark, log_id FROM checkpoints WHERE position > 0 ORDER BY position DESC LIMIT 1
        ) AS furthest
        LEFT JOIN log_identity ON log_identity.one
        WHERE furthest.log_id IS DISTINCT FROM log_identity.log_id
            OR log_identity.written_in <> 'stored_events'::regclass::oid
            OR furthest.mark IS DISTINCT FROM (
                SELECT event_mark(event.originator_id, event.originator_version, event.revision, event.topic, event.state)
                FROM stored_events AS event WHERE event.notification_id = furthest.position
            )
    ) THEN
        RAISE EXCEPTION 'the log is not the one that was folded' USING ERRCODE = 'PF001';
    END IF;
    RETURN true;
END
$$;

-- The position of the newest event, 0 if there is none, as it is when this is called: not when its statement began, which
-- may have waited for the lock.
CREATE FUNCTION log_end() RETURNS bigint
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN (SELECT coalesce(max(notification_id), 0) FROM stored_events);
END
$$;

-- Appends events, as before, under that lock. Returns one row of nulls where `lock_log` returns false.
CREATE OR REPLACE FUNCTION append_events(
    originator_ids text[], originator_versions bigint[], topics text[], states bytea[], revisions integer[] DEFAULT NULL,
    generation bigint DEFAULT NULL, streams text[] DEFAULT '{}', ceilings bigint[] DEFAULT '{}'
) RETURNS TABLE (notification_id bigint, originator_id text, originator_version bigint, revision integer)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    IF NOT lock_log(generation, streams, ceilings) THEN
        RETURN QUERY SELECT NULL::bigint, NULL::text, NULL::bigint, NULL::integer;
        RETURN;
    END IF;
    RETURN QUERY
        INSERT INTO stored_events (originator_id, originator_version, revision, topic, state)
        SELECT event.originator_id, event.originator_version, coalesce(event.revision, 0), event.topic, event.state
        FROM (
            SELECT unnest(originator_ids) AS originator_id, unnest(originator_versions) AS originator_version,
                   unnest(revisions) AS revision, unnest(topics) AS topic, unnest(states) AS state
        ) AS event
        ON CONFLICT DO NOTHING
        RETURNING stored_events.notification_id, stored_events.originator_id, stored_events.originator_version,
                  stored_events.revision;
    IF FOUND THEN
        PERFORM pg_notify(current_schema(), '');
    END IF;
END
$$;
