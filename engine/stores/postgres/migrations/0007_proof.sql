-- The identity of the log, made with it, and the table that it was written in: what a dump gives back is another table.
CREATE TABLE log_identity (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    log_id text COLLATE "C" NOT NULL,
    written_in oid NOT NULL
);

INSERT INTO log_identity (log_id, written_in)
SELECT replace(gen_random_uuid()::text, '-', ''), to_regclass('stored_events')::oid;

-- Whether a recovery is under way.
CREATE TABLE recovery (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    under_way boolean NOT NULL DEFAULT false
);

INSERT INTO recovery DEFAULT VALUES;

-- The mark of an event, as `engine.stores.proof` makes it.
CREATE FUNCTION event_mark(stream text, version bigint, revision integer, topic text, state bytea) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT sha256(
        convert_to(concat_ws(chr(31), stream, version, revision, topic, octet_length(state)), 'UTF8')
        || substring(state FROM 1 FOR 4096)
    )
$$;

-- Beside every position that is kept stand the mark of the event there and the identity of the log: they prove that the
-- log is the one that was folded.
ALTER TABLE checkpoints ADD COLUMN mark bytea, ADD COLUMN log_id text COLLATE "C";
ALTER TABLE tracking ADD COLUMN mark bytea;

UPDATE checkpoints SET log_id = log_identity.log_id, mark = event_mark(
    event.originator_id, event.originator_version, event.revision, event.topic, event.state
)
FROM stored_events AS event, log_identity
WHERE event.notification_id = checkpoints.position;

-- The only way into the log, as before, and closed where the log is not the one that was folded: where the furthest
-- checkpoint is not proved by it, or where the table is another one than that which the log was written in.
CREATE OR REPLACE FUNCTION append_events(
    originator_ids text[], originator_versions bigint[], topics text[], states bytea[], revisions integer[] DEFAULT NULL
) RETURNS TABLE (notification_id bigint, originator_id text, originator_version bigint, revision integer)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema(), 0));
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
