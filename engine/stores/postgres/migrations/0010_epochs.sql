-- Appends as `append_events` does, but nothing when the log's epochs are not those that the caller knows: another number of
-- events has raised them (unless `generation` is null), or one of `streams` has a version as high as its ceiling. Then it
-- gives one row of nulls. It looks under the lock of the log: whatever was committed before is seen, and nobody commits
-- between the look and the append.
CREATE FUNCTION append_fenced(
    originator_ids text[], originator_versions bigint[], topics text[], states bytea[], revisions integer[],
    generation bigint, streams text[], ceilings bigint[]
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
    RETURN QUERY SELECT * FROM append_events(originator_ids, originator_versions, topics, states, revisions);
END
$$;
