-- The only way into the log, as before, and closed also where the log's epochs are not those that the caller knows: another
-- number of events has raised them (unless `generation` is null), or one of `streams` has a version as high as its
-- ceiling. Then it gives one row of nulls. It looks under the lock of the log: whatever was committed before is seen, and
-- nobody commits between the look and the append.
DROP FUNCTION append_events(text[], bigint[], text[], bytea[], integer[]);

CREATE FUNCTION append_events(
    originator_ids text[], originator_versions bigint[], topics text[], states bytea[], revisions integer[] DEFAULT NULL,
    generation bigint DEFAULT NULL, streams text[] DEFAULT '{}', ceilings bigint[] DEFAULT '{}'
) RETURNS TABLE (notification_id bigint, originator_id text, originator_version bigint, revision integer)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema(), 0));
    IF generation <> (
        SELECT coalesce(max(raised.originator_version), -1) + 1 FROM stored_events AS raised
        WHERE raised.originator_id = 'pagefold-epochs'
    ) OR EXISTS (
        SELECT FROM unnest(streams, ceilings) AS fenced (stream, ceiling)
        JOIN stored_events AS beyond
            ON beyond.originator_id = fenced.stream AND beyond.originator_version >= fenced.ceiling
    ) THEN
        RETURN QUERY SELECT NULL::bigint, NULL::text, NULL::bigint, NULL::integer;
        RETURN;
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
    RETURN QUERY
        INSERT INTO stored_events (originator_id, originator_version, revision, topic, state)
        SELECT event.originator_id, event.originator_version, coalesce(event.revision, 0), event.topic, event.state
        FROM unnest(originator_ids, originator_versions, revisions, topics, states) WITH ORDINALITY
            AS event (originator_id, originator_version, revision, topic, state, place)
        ORDER BY event.place
        ON CONFLICT DO NOTHING
        RETURNING stored_events.notification_id, stored_events.originator_id, stored_events.originator_version,
                  stored_events.revision;
    IF FOUND THEN
        PERFORM pg_notify(current_schema(), '');
    END IF;
END
$$;
