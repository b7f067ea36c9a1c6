-- The only way into the log, as before, now with a revision for each event: a version that an event has already can be
-- corrected by another. Without `revisions`, all are the first of their versions.
DROP FUNCTION append_events(text[], bigint[], text[], bytea[]);

CREATE FUNCTION append_events(
    originator_ids text[], originator_versions bigint[], topics text[], states bytea[], revisions integer[] DEFAULT NULL
) RETURNS TABLE (notification_id bigint, originator_id text, originator_version bigint, revision integer)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema(), 0));
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
