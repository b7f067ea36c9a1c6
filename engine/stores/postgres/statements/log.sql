-- insert_event --
-- Appends the events whose version is free, under the lock of the log, and returns their positions; see `append_events`.
SELECT notification_id, originator_id, originator_version
FROM append_events($1::text[], $2::bigint[], $3::text[], $4::bytea[], NULL, $5::bigint, $6::text[], $7::bigint[]);

-- correct_event --
-- Appends the corrections whose (stream, version, revision) is free, likewise.
SELECT notification_id, originator_id, originator_version, revision
FROM append_events(
    $1::text[], $2::bigint[], $3::text[], $4::bytea[], $5::integer[], $6::bigint, $7::text[], $8::bigint[]
);

-- generation --
-- The number of events that raised epochs.
SELECT coalesce(max(originator_version), -1) + 1 FROM stored_events WHERE originator_id = 'pagefold-epochs';

-- newest_versions --
-- The highest version of each stream in an array.
SELECT newest.originator_id, newest.originator_version
FROM unnest($1::text[]) AS wanted (originator_id)
CROSS JOIN LATERAL (
    SELECT * FROM stored_events
    WHERE stored_events.originator_id = wanted.originator_id
    ORDER BY originator_version DESC
    LIMIT 1
) AS newest;

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
-- The next events after a position: the streams of a domain, their number, where the window ends, and the bytes of the domain's
-- events. Events of other domains have null bytes.
WITH next_events AS (
    SELECT notification_id, originator_id, CASE topic WHEN $1 THEN octet_length(state) END AS bytes
    FROM stored_events
    WHERE notification_id > $2
    ORDER BY notification_id
    LIMIT $3
)
SELECT coalesce(array_agg(DISTINCT originator_id) FILTER (WHERE bytes IS NOT NULL), '{}'),
       count(bytes), count(*), coalesce(max(notification_id), $2), coalesce(sum(bytes), 0)
FROM next_events;

-- next_events --
-- The next events after a position, without their states.
SELECT notification_id, originator_id, topic, octet_length(state) FROM stored_events
WHERE notification_id > $1
ORDER BY notification_id
LIMIT $2;

-- heads --
-- The newest event of each stream in an array. A state above the limit is left out.
SELECT head.notification_id, head.originator_id, head.originator_version, head.revision, head.topic,
       CASE WHEN octet_length(head.state) <= $2 THEN head.state END
FROM unnest($1::text[]) AS wanted (originator_id)
CROSS JOIN LATERAL (
    SELECT * FROM stored_events
    WHERE stored_events.originator_id = wanted.originator_id
    ORDER BY originator_version DESC, revision DESC
    LIMIT 1
) AS head;

-- heads_as_of --
-- As `heads`, among the events up to a position. `+ 0` keeps the index of the positions from being used in place of theirs.
SELECT head.notification_id, head.originator_id, head.originator_version, head.revision, head.topic,
       CASE WHEN octet_length(head.state) <= $2 THEN head.state END
FROM unnest($1::text[]) AS wanted (originator_id)
CROSS JOIN LATERAL (
    SELECT * FROM stored_events
    WHERE stored_events.originator_id = wanted.originator_id AND notification_id + 0 <= $3
    ORDER BY originator_version DESC, revision DESC
    LIMIT 1
) AS head;

-- streams_of_skus --
-- The names of the streams of some SKUs, encoded as there. Each takes a step in the index, however many events it has.
WITH RECURSIVE stream (sku, name) AS (
    SELECT wanted.sku, first.originator_id
    FROM unnest($1::text[]) AS wanted (sku)
    CROSS JOIN LATERAL (
        SELECT originator_id FROM stored_events
        WHERE originator_id > wanted.sku || '/' AND originator_id < wanted.sku || '0'
        ORDER BY originator_id LIMIT 1
    ) AS first
    UNION ALL
    SELECT stream.sku, following.originator_id
    FROM stream
    CROSS JOIN LATERAL (
        SELECT originator_id FROM stored_events
        WHERE originator_id > stream.name AND originator_id < stream.sku || '0'
        ORDER BY originator_id LIMIT 1
    ) AS following
)
SELECT name FROM stream;

-- head_sizes --
-- The bytes of the newest event of each stream in an array.
SELECT wanted.originator_id, (
    SELECT octet_length(state) FROM stored_events
    WHERE stored_events.originator_id = wanted.originator_id
    ORDER BY originator_version DESC, revision DESC
    LIMIT 1
)
FROM unnest($1::text[]) AS wanted (originator_id);

-- head_sizes_as_of --
-- The bytes of the newest event up to a position of each stream in an array.
SELECT wanted.originator_id, (
    SELECT octet_length(state) FROM stored_events
    WHERE stored_events.originator_id = wanted.originator_id AND notification_id + 0 <= $2
    ORDER BY originator_version DESC, revision DESC
    LIMIT 1
)
FROM unnest($1::text[]) AS wanted (originator_id);

-- older_events --
-- The newest events of a stream, up to a position, that are older than a given (version, revision).
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE originator_id = $1 AND (originator_version, revision) < ($2, $3) AND notification_id + 0 <= $4
ORDER BY originator_version DESC, revision DESC
LIMIT $5;

-- older_events_of --
-- As `older_events`, of each stream in three arrays: stream, version, revision. A state above the limit is left out.
SELECT older.notification_id, older.originator_id, older.originator_version, older.revision, older.topic,
       CASE WHEN octet_length(older.state) <= $6 THEN older.state END
FROM unnest($1::text[], $2::bigint[], $3::integer[]) AS wanted (originator_id, originator_version, revision)
CROSS JOIN LATERAL (
    SELECT * FROM stored_events
    WHERE stored_events.originator_id = wanted.originator_id
        AND (stored_events.originator_version, stored_events.revision) < (wanted.originator_version, wanted.revision)
        AND notification_id + 0 <= $4
    ORDER BY originator_version DESC, revision DESC
    LIMIT $5
) AS older;

-- history --
-- The next events, by stream and version, of the streams between two names.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE (originator_id, originator_version, revision) > ($1, $2, $3) AND originator_id < $4
ORDER BY originator_id, originator_version, revision
LIMIT $5;

-- scan --
-- The next streams between two names, numbered, by one index step each, however long their histories: those that end in
-- one of the tails, with their heads, and the last of all, with or without. Not sorted, for states are large.
-- A state above the limit is left out.
-- There may be hundreds of tails: each is found by hash (`IS TRUE` keeps it from becoming a join), once for each length.
WITH RECURSIVE sizes (size) AS MATERIALIZED (
    SELECT DISTINCT length(tail) FROM unnest($1::text[]) AS tail
), streams (originator_id, number) AS (
    (
        SELECT originator_id, 1 FROM stored_events
        WHERE originator_id > $2 AND $4 > 0 ORDER BY originator_id LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT next.originator_id FROM stored_events AS next
        WHERE next.originator_id > streams.originator_id ORDER BY next.originator_id LIMIT 1
    ), streams.number + 1
    FROM streams
    WHERE streams.number < $4 AND streams.originator_id IS NOT NULL AND ($3 = '' OR streams.originator_id < $3)
)
SELECT head.notification_id, streams.originator_id, head.originator_version, head.revision, head.topic,
       CASE WHEN octet_length(head.state) <= $5 THEN head.state END, streams.number
FROM streams
LEFT JOIN LATERAL (
    SELECT * FROM stored_events
    WHERE stored_events.originator_id = streams.originator_id
        AND EXISTS (
            SELECT FROM sizes WHERE (right(streams.originator_id, size) IN (SELECT unnest($1::text[]))) IS TRUE
        )
    ORDER BY originator_version DESC, revision DESC
    LIMIT 1
) AS head ON true
WHERE streams.originator_id IS NOT NULL AND ($3 = '' OR streams.originator_id < $3)
    AND (head.notification_id IS NOT NULL OR streams.number = $4);

-- scan_entries --
-- As `scan`, but only the content of each head, and the last stream if there may be more. A content above the limit is
-- replaced by its stream and number.
WITH RECURSIVE sizes (size) AS MATERIALIZED (
    SELECT DISTINCT length(tail) FROM unnest($1::text[]) AS tail
), streams (originator_id, number) AS (
    (
        SELECT originator_id, 1 FROM stored_events
        WHERE originator_id > $2 AND $4 > 0 ORDER BY originator_id LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT next.originator_id FROM stored_events AS next
        WHERE next.originator_id > streams.originator_id ORDER BY next.originator_id LIMIT 1
    ), streams.number + 1
    FROM streams
    WHERE streams.number < $4 AND streams.originator_id IS NOT NULL AND ($3 = '' OR streams.originator_id < $3)
)
SELECT CASE WHEN octet_length(head.state) <= $6 THEN
           convert_to(streams.originator_id || chr(31) || head.originator_version || chr(31), 'UTF8')
           || CASE WHEN position('"payload":'::bytea IN head.state) > 0
               THEN substring(head.state FROM position('"payload":'::bytea IN head.state)) ELSE '' END
           || CASE WHEN head.notification_id > $5 THEN '\x1f'::bytea ELSE '' END
       END,
       CASE WHEN streams.number = $4 OR octet_length(head.state) > $6 THEN streams.originator_id END,
       CASE WHEN octet_length(head.state) > $6 THEN streams.number END
FROM streams
LEFT JOIN LATERAL (
    SELECT * FROM stored_events
    WHERE stored_events.originator_id = streams.originator_id
        AND EXISTS (
            SELECT FROM sizes WHERE (right(streams.originator_id, size) IN (SELECT unnest($1::text[]))) IS TRUE
        )
    ORDER BY originator_version DESC, revision DESC
    LIMIT 1
) AS head ON true
WHERE streams.originator_id IS NOT NULL AND ($3 = '' OR streams.originator_id < $3)
    AND (head.notification_id IS NOT NULL OR streams.number = $4);

-- stream_skus --
-- The next SKUs that have streams: an index step skips all streams of a SKU, since "0" follows "/", or one stream without
-- a SKU, as applications have.
WITH RECURSIVE steps (originator_id, before) AS (
    (
        SELECT originator_id, 0 FROM stored_events
        WHERE originator_id >= CASE WHEN $1 = '' THEN '' ELSE $1 || '0' END ORDER BY originator_id LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT next.originator_id FROM stored_events AS next
        WHERE next.originator_id >= CASE
            WHEN strpos(steps.originator_id, '/') > 0 THEN split_part(steps.originator_id, '/', 1) || '0'
            ELSE steps.originator_id || chr(1)
        END
        ORDER BY next.originator_id LIMIT 1
    ), steps.before + (strpos(steps.originator_id, '/') > 1)::integer
    FROM steps
    WHERE steps.before < $2 AND steps.originator_id IS NOT NULL
)
SELECT split_part(originator_id, '/', 1) FROM steps
WHERE before < $2 AND strpos(originator_id, '/') > 1
ORDER BY before;

-- events_between --
-- The events of a domain between two positions.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE notification_id > $2 AND notification_id <= $3 AND topic = $1
ORDER BY notification_id;

-- untouched --
-- The streams in an array that have no event after a position.
SELECT wanted.originator_id FROM unnest($1::text[]) AS wanted (originator_id)
WHERE NOT EXISTS (
    SELECT FROM stored_events
    WHERE stored_events.originator_id = wanted.originator_id AND stored_events.notification_id > $2
);

-- lag --
-- The number of events of a domain among the next events after a position, and the oldest of all after it.
SELECT count(*), (
    SELECT oldest.state FROM stored_events AS oldest
    WHERE oldest.notification_id > $2 AND oldest.topic = $1
    ORDER BY oldest.notification_id LIMIT 1
)
FROM (
    SELECT topic FROM stored_events WHERE notification_id > $2 ORDER BY notification_id LIMIT $3
) AS following
WHERE topic = $1;
