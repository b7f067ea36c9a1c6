-- insert_event --
-- Appends the events whose version is free, under the lock of the log, and tells their positions.
SELECT notification_id, originator_id, originator_version
FROM append_events($1::text[], $2::bigint[], $3::text[], $4::bytea[]);

-- events_at --
-- Every revision at some (stream, version), given as two arrays.
SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version,
       stored_events.revision, stored_events.topic, stored_events.state
FROM unnest($1::text[], $2::bigint[]) AS wanted (originator_id, originator_version)
JOIN stored_events USING (originator_id, originator_version);

-- log_end --
-- The position of the newest event.
SELECT coalesce(max(notification_id), 0) FROM stored_events;

-- touched --
-- The next events behind a position: what of them a domain has, how many there are, and where the window ends.
WITH next_events AS (
    SELECT notification_id, originator_id, topic FROM stored_events
    WHERE notification_id > $2
    ORDER BY notification_id
    LIMIT $3
)
SELECT coalesce(array_agg(DISTINCT originator_id) FILTER (WHERE topic = $1), '{}'),
       count(*) FILTER (WHERE topic = $1), count(*), coalesce(max(notification_id), $2)
FROM next_events;

-- heads --
-- The newest event of each stream in an array.
SELECT head.notification_id, head.originator_id, head.originator_version, head.revision, head.topic, head.state
FROM unnest($1::text[]) AS wanted (originator_id)
CROSS JOIN LATERAL (
    SELECT * FROM stored_events
    WHERE stored_events.originator_id = wanted.originator_id
    ORDER BY originator_version DESC, revision DESC
    LIMIT 1
) AS head;

-- older_events --
-- The newest events of a stream that are older than a given (version, revision).
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE originator_id = $1 AND (originator_version, revision) < ($2, $3)
ORDER BY originator_version DESC, revision DESC
LIMIT $4;

-- history --
-- The next events, by stream and version, of the streams between two names.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE (originator_id, originator_version, revision) > ($1, $2, $3) AND originator_id < $4
ORDER BY originator_id, originator_version, revision
LIMIT $5;

-- scan --
-- The heads of the next streams by name: one step through the index a stream, however long its history.
WITH RECURSIVE streams (originator_id, number) AS (
    (
        SELECT originator_id, 1 FROM stored_events
        WHERE originator_id > $1 AND $2 > 0 ORDER BY originator_id LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT next.originator_id FROM stored_events AS next
        WHERE next.originator_id > streams.originator_id ORDER BY next.originator_id LIMIT 1
    ), streams.number + 1
    FROM streams
    WHERE streams.number <= $2 AND streams.originator_id IS NOT NULL
)
SELECT head.notification_id, head.originator_id, head.originator_version, head.revision, head.topic, head.state
FROM streams
CROSS JOIN LATERAL (
    SELECT * FROM stored_events
    WHERE stored_events.originator_id = streams.originator_id
    ORDER BY originator_version DESC, revision DESC
    LIMIT 1
) AS head
WHERE streams.number <= $2
ORDER BY streams.number;

-- lag --
-- How many events of a domain stand behind a position, and the oldest of them.
SELECT count(*), (
    SELECT oldest.state FROM stored_events AS oldest
    WHERE oldest.notification_id > $2 AND oldest.topic = $1
    ORDER BY oldest.notification_id LIMIT 1
)
FROM stored_events WHERE notification_id > $2 AND topic = $1;
