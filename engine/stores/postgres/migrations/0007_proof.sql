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

-- The mark of an event, as `pagefold.engine.stores.log_proof` makes it.
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
