-- insert_event --
-- Appends an event whose version is free, and tells its position; nothing when the version is taken.
INSERT INTO stored_events (originator_id, originator_version, topic, state)
VALUES (?, ?, ?, ?)
ON CONFLICT DO NOTHING
RETURNING notification_id, originator_id, originator_version;

-- events_at --
-- Every revision at some (stream, version), given as a JSON array of pairs.
SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version,
       stored_events.revision, stored_events.topic, stored_events.state
FROM json_each(?) AS wanted
CROSS JOIN stored_events
    ON stored_events.originator_id = wanted.value ->> 0
    AND stored_events.originator_version = wanted.value ->> 1;

-- log_end --
-- The position of the newest event.
SELECT coalesce(max(notification_id), 0) FROM stored_events;

-- touched --
-- The next events behind a position: where the window ends, how many there are, and what of it a domain has.
WITH next_events AS (
    SELECT notification_id, originator_id, topic FROM stored_events
    WHERE notification_id > :after
    ORDER BY notification_id
    LIMIT :limit
)
SELECT coalesce(max(notification_id), :after), count(*), count(*) FILTER (WHERE topic = :domain),
       json_group_array(DISTINCT originator_id) FILTER (WHERE topic = :domain)
FROM next_events;

-- heads --
-- The newest event of each stream in an array.
SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version,
       stored_events.revision, stored_events.topic, stored_events.state
FROM carray(?) AS wanted
CROSS JOIN stored_events ON stored_events.notification_id = (
    SELECT newest.notification_id FROM stored_events AS newest
    WHERE newest.originator_id = wanted.value
    ORDER BY newest.originator_version DESC, newest.revision DESC
    LIMIT 1
);

-- older_events --
-- The newest events of a stream that are older than a given (version, revision).
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE originator_id = ? AND (originator_version, revision) < (?, ?)
ORDER BY originator_version DESC, revision DESC
LIMIT ?;

-- history --
-- The next events, by stream and version, of the streams between two names.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE (originator_id, originator_version, revision) > (?, ?, ?) AND originator_id < ?
ORDER BY originator_id, originator_version, revision
LIMIT ?;

-- scan --
-- The heads of the next streams by name: one step through the index a stream, however long its history.
WITH RECURSIVE streams (originator_id, number) AS (
    SELECT * FROM (
        SELECT originator_id, 1 FROM stored_events
        WHERE originator_id > :after AND :limit > 0 ORDER BY originator_id LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT next.originator_id FROM stored_events AS next
        WHERE next.originator_id > streams.originator_id ORDER BY next.originator_id LIMIT 1
    ), streams.number + 1
    FROM streams
    WHERE streams.number <= :limit AND streams.originator_id IS NOT NULL
)
SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version,
       stored_events.revision, stored_events.topic, stored_events.state
FROM streams
CROSS JOIN stored_events ON stored_events.notification_id = (
    SELECT newest.notification_id FROM stored_events AS newest
    WHERE newest.originator_id = streams.originator_id
    ORDER BY newest.originator_version DESC, newest.revision DESC
    LIMIT 1
)
WHERE streams.number <= :limit
ORDER BY stored_events.originator_id;

-- lag --
-- How many events of a domain stand behind a position, and the oldest of them.
SELECT count(*), (
    SELECT oldest.state FROM stored_events AS oldest
    WHERE oldest.notification_id > :after AND oldest.topic = :domain
    ORDER BY oldest.notification_id LIMIT 1
)
FROM stored_events WHERE notification_id > :after AND topic = :domain;
