-- insert_event --
-- Appends the events whose version is free, in one step: an array of streams; for each, numbers in 70 bytes (see `NUMBERS`);
-- all topics, and all states, concatenated.
INSERT INTO stored_events (originator_id, originator_version, topic, state)
SELECT new.value, CAST(substr(:numbers, new.rowid * 70 - 69, 20) AS INTEGER),
       coalesce(CAST(substr(
           :topics, CAST(substr(:numbers, new.rowid * 70 - 39, 10) AS INTEGER), CAST(substr(:numbers, new.rowid * 70 - 29, 10) AS INTEGER)
       ) AS TEXT), ''),
       coalesce(substr(
           :states, CAST(substr(:numbers, new.rowid * 70 - 19, 10) AS INTEGER), CAST(substr(:numbers, new.rowid * 70 - 9, 10) AS INTEGER)
       ), x'')
FROM carray(:streams) AS new
WHERE true
ON CONFLICT DO NOTHING;

-- correct_event --
-- Appends the corrections whose (stream, version, revision) is free, likewise.
INSERT INTO stored_events (originator_id, originator_version, revision, topic, state)
SELECT new.value, CAST(substr(:numbers, new.rowid * 70 - 69, 20) AS INTEGER),
       CAST(substr(:numbers, new.rowid * 70 - 49, 10) AS INTEGER),
       coalesce(CAST(substr(
           :topics, CAST(substr(:numbers, new.rowid * 70 - 39, 10) AS INTEGER), CAST(substr(:numbers, new.rowid * 70 - 29, 10) AS INTEGER)
       ) AS TEXT), ''),
       coalesce(substr(
           :states, CAST(substr(:numbers, new.rowid * 70 - 19, 10) AS INTEGER), CAST(substr(:numbers, new.rowid * 70 - 9, 10) AS INTEGER)
       ), x'')
FROM carray(:streams) AS new
WHERE true
ON CONFLICT DO NOTHING;

-- generation --
-- The number of events that raised epochs.
SELECT coalesce(max(originator_version), -1) + 1 FROM stored_events WHERE originator_id = 'pagefold-epochs';

-- newest_versions --
-- The highest version of each stream in an array.
SELECT wanted.value, (
    SELECT newest.originator_version FROM stored_events AS newest
    WHERE newest.originator_id = wanted.value
    ORDER BY newest.originator_version DESC
    LIMIT 1
) AS version
FROM carray(?) AS wanted
WHERE version IS NOT NULL;

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
-- The next events after a position: where the window ends, their number, and the streams of a domain, with the bytes of its events.
-- Events of other domains have null bytes: comparing topics once a row takes a third less time.
WITH next_events AS (
    SELECT notification_id, originator_id, CASE topic WHEN :domain THEN octet_length(state) END AS bytes
    FROM stored_events
    WHERE notification_id > :after
    ORDER BY notification_id
    LIMIT :limit
)
SELECT coalesce(max(notification_id), :after), count(*), count(bytes),
       json_group_array(DISTINCT originator_id) FILTER (WHERE bytes IS NOT NULL),
       coalesce(sum(bytes), 0)
FROM next_events;

-- next_events --
-- The next events after a position, without their states.
SELECT notification_id, originator_id, topic, octet_length(state) FROM stored_events
WHERE notification_id > ?
ORDER BY notification_id
LIMIT ?;

-- heads --
-- The newest event of each stream in an array, all in two values: see `packed`.
SELECT json_group_array(json_array(
    stored_events.notification_id, stored_events.originator_id, stored_events.originator_version,
    stored_events.revision, stored_events.topic, octet_length(stored_events.state)
)), CAST(group_concat(stored_events.state, '') AS BLOB)
FROM carray(?) AS wanted
CROSS JOIN stored_events ON stored_events.notification_id = (
    SELECT newest.notification_id FROM stored_events AS newest
    WHERE newest.originator_id = wanted.value
    ORDER BY newest.originator_version DESC, newest.revision DESC
    LIMIT 1
);

-- heads_as_of --
-- As `heads`, among the events up to a position. The index has the positions; `+` keeps it from being passed over for theirs.
SELECT json_group_array(json_array(
    stored_events.notification_id, stored_events.originator_id, stored_events.originator_version,
    stored_events.revision, stored_events.topic, octet_length(stored_events.state)
)), CAST(group_concat(stored_events.state, '') AS BLOB)
FROM carray(?2) AS wanted
CROSS JOIN stored_events ON stored_events.notification_id = (
    SELECT newest.notification_id FROM stored_events AS newest
    WHERE newest.originator_id = wanted.value AND +newest.notification_id <= ?1
    ORDER BY newest.originator_version DESC, newest.revision DESC
    LIMIT 1
);

-- streams_of_skus --
-- The names of the streams of some SKUs, encoded as there. Each takes a step in the index, however many events it has.
WITH RECURSIVE stream (sku, name) AS (
    SELECT wanted.value, (
        SELECT min(originator_id) FROM stored_events
        WHERE originator_id > wanted.value || '/' AND originator_id < wanted.value || '0'
    )
    FROM carray(?) AS wanted
    UNION ALL
    SELECT stream.sku, (
        SELECT min(originator_id) FROM stored_events
        WHERE originator_id > stream.name AND originator_id < stream.sku || '0'
    )
    FROM stream WHERE stream.name IS NOT NULL
)
SELECT json_group_array(name) FROM stream WHERE name IS NOT NULL;

-- head_sizes --
-- The bytes of the newest event of each stream in an array.
SELECT wanted.value, (
    SELECT octet_length(newest.state) FROM stored_events AS newest
    WHERE newest.originator_id = wanted.value
    ORDER BY newest.originator_version DESC, newest.revision DESC
    LIMIT 1
)
FROM carray(?) AS wanted;

-- head_sizes_as_of --
-- The bytes of the newest event up to a position of each stream in an array.
SELECT wanted.value, (
    SELECT octet_length(newest.state) FROM stored_events AS newest
    WHERE newest.originator_id = wanted.value AND +newest.notification_id <= ?1
    ORDER BY newest.originator_version DESC, newest.revision DESC
    LIMIT 1
)
FROM carray(?2) AS wanted;

-- older_events --
-- The newest events of a stream, up to a position, that are older than a given (version, revision).
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE originator_id = ? AND (originator_version, revision) < (?, ?) AND +notification_id <= ?
ORDER BY originator_version DESC, revision DESC
LIMIT ?;

-- older_events_of --
-- As `older_events`, of each stream in a JSON array of (stream, version, revision). A state above the limit is left out.
SELECT older.notification_id, older.originator_id, older.originator_version, older.revision, older.topic,
       iif(octet_length(older.state) <= :max_state, older.state, NULL)
FROM json_each(:events) AS wanted
CROSS JOIN stored_events AS older ON older.notification_id IN (
    SELECT notification_id FROM stored_events
    WHERE originator_id = wanted.value ->> 0
        AND (originator_version, revision) < (wanted.value ->> 1, wanted.value ->> 2)
        AND +notification_id <= :as_of
    ORDER BY originator_version DESC, revision DESC
    LIMIT :limit
);

-- history --
-- The next events, by stream and version, of the streams between two names.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE (originator_id, originator_version, revision) > (?, ?, ?) AND originator_id < ?
ORDER BY originator_id, originator_version, revision
LIMIT ?;

-- scan --
-- The next streams between two names, numbered, by one index step each, however long their histories: those that end in
-- one of the tails, with their heads, and the last of all, with or without. Not sorted, for states are large;
-- all in two values: see `packed`. There may be hundreds of tails: each is found by an index, once for each length.
WITH RECURSIVE sizes (size) AS MATERIALIZED (
    SELECT DISTINCT length(value) FROM json_each(:tails)
), streams (originator_id, number) AS (
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
    WHERE streams.number < :limit AND streams.originator_id IS NOT NULL
        AND (:below = '' OR streams.originator_id < :below)
)
SELECT json_group_array(json_array(
    head.notification_id, streams.originator_id, head.originator_version, head.revision, head.topic,
    octet_length(head.state), streams.number
)), CAST(group_concat(head.state, '') AS BLOB)
FROM streams
LEFT JOIN stored_events AS head ON head.notification_id = CASE
    WHEN EXISTS (
        SELECT 1 FROM sizes
        WHERE substr(streams.originator_id, 1 + length(streams.originator_id) - size)
            IN (SELECT value FROM json_each(:tails))
    )
    THEN (
        SELECT newest.notification_id FROM stored_events AS newest
        WHERE newest.originator_id = streams.originator_id
        ORDER BY newest.originator_version DESC, newest.revision DESC
        LIMIT 1
    )
END
WHERE streams.originator_id IS NOT NULL AND (:below = '' OR streams.originator_id < :below)
    AND (head.notification_id IS NOT NULL OR streams.number = :limit);

-- scan_entries --
-- As `scan`, but only the content of each head, all in one value; their number, and the last stream if there may be more.
WITH RECURSIVE sizes (size) AS MATERIALIZED (
    SELECT DISTINCT length(value) FROM json_each(:tails)
), streams (originator_id, number) AS (
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
    WHERE streams.number < :limit AND streams.originator_id IS NOT NULL
        AND (:below = '' OR streams.originator_id < :below)
)
SELECT count(head.notification_id), max(streams.originator_id) FILTER (WHERE streams.number = :limit),
    CAST(group_concat(
        streams.originator_id || char(31) || head.originator_version || char(31)
        || iif(instr(head.state, :payload), substr(head.state, instr(head.state, :payload)), '')
        || iif(head.notification_id > :since, char(31), ''),
        char(30)
    ) AS BLOB)
FROM streams
LEFT JOIN stored_events AS head ON head.notification_id = CASE
    WHEN EXISTS (
        SELECT 1 FROM sizes
        WHERE substr(streams.originator_id, 1 + length(streams.originator_id) - size)
            IN (SELECT value FROM json_each(:tails))
    )
    THEN (
        SELECT newest.notification_id FROM stored_events AS newest
        WHERE newest.originator_id = streams.originator_id
        ORDER BY newest.originator_version DESC, newest.revision DESC
        LIMIT 1
    )
END
WHERE streams.originator_id IS NOT NULL AND (:below = '' OR streams.originator_id < :below)
    AND (head.notification_id IS NOT NULL OR streams.number = :limit);

-- stream_skus --
-- The next SKUs that have streams: an index step skips all streams of a SKU, since "0" follows "/", or one stream without
-- a SKU, as applications have.
WITH RECURSIVE steps (originator_id, before) AS (
    SELECT * FROM (
        SELECT originator_id, 0 FROM stored_events
        WHERE originator_id >= CASE WHEN :after = '' THEN '' ELSE :after || '0' END ORDER BY originator_id LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT next.originator_id FROM stored_events AS next
        WHERE next.originator_id >= CASE
            WHEN instr(steps.originator_id, '/') > 0
            THEN substr(steps.originator_id, 1, instr(steps.originator_id, '/') - 1) || '0'
            ELSE steps.originator_id || char(1)
        END
        ORDER BY next.originator_id LIMIT 1
    ), steps.before + (instr(steps.originator_id, '/') > 1)
    FROM steps
    WHERE steps.before < :limit AND steps.originator_id IS NOT NULL
)
SELECT substr(originator_id, 1, instr(originator_id, '/') - 1) FROM steps
WHERE before < :limit AND instr(originator_id, '/') > 1
ORDER BY before;

-- events_between --
-- The events of a domain between two positions.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE notification_id > ? AND notification_id <= ? AND topic = ?
ORDER BY notification_id;

-- untouched --
-- The streams in an array that have no event after a position.
SELECT wanted.value FROM carray(:streams) AS wanted
WHERE NOT EXISTS (
    SELECT 1 FROM stored_events
    WHERE stored_events.originator_id = wanted.value AND stored_events.notification_id > :since
);

-- lag --
-- The number of events of a domain among the next events after a position, and the oldest of all after it.
SELECT count(*), (
    SELECT oldest.state FROM stored_events AS oldest
    WHERE oldest.notification_id > :after AND oldest.topic = :domain
    ORDER BY oldest.notification_id LIMIT 1
)
FROM (
    SELECT topic FROM stored_events WHERE notification_id > :after ORDER BY notification_id LIMIT :limit
) AS following
WHERE topic = :domain;
