-- lock_log --
-- Takes the lock of the log, for events that are copied, and returns the position of the newest event. Returns null where
-- `lock_log` returns false.
SELECT CASE WHEN lock_log($1::bigint, $2::text[], $3::bigint[]) THEN log_end() END;

-- taken_versions --
-- The places, from 1, of the (stream, version, revision) that are taken, given as three arrays.
SELECT wanted.place
FROM unnest($1::text[], $2::bigint[], $3::integer[]) WITH ORDINALITY
    AS wanted (originator_id, originator_version, revision, place)
WHERE EXISTS (
    SELECT FROM stored_events
    WHERE stored_events.originator_id = wanted.originator_id
        AND stored_events.originator_version = wanted.originator_version
        AND stored_events.revision = wanted.revision
);

-- announce_copied --
-- Notifies of the events after a position, which were copied, and returns the first and the last position.
SELECT min(notification_id), max(notification_id), pg_notify(current_schema(), '')
FROM stored_events WHERE notification_id > $1;
