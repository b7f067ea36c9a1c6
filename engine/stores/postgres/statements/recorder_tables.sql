-- record_event --
-- Appends events of the `eventsourcing` library; fewer positions than events mean that a version is taken.
SELECT notification_id FROM append_events($1::text[], $2::bigint[], $3::text[], $4::bytea[]);

-- record_snapshot --
-- Stores snapshots of the `eventsourcing` library.
INSERT INTO stored_snapshots (originator_id, originator_version, topic, state)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[]);

-- select_events --
-- Events of one stream between two versions, oldest first.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE originator_id = $1 AND originator_version > $2 AND originator_version <= $3
ORDER BY originator_version, revision
LIMIT $4;

-- select_events_newest_first --
-- Events of one stream between two versions, newest first.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE originator_id = $1 AND originator_version > $2 AND originator_version <= $3
ORDER BY originator_version DESC, revision DESC
LIMIT $4;

-- select_snapshots --
-- Snapshots of one aggregate between two versions, oldest first.
SELECT 0, originator_id, originator_version, 0, topic, state FROM stored_snapshots
WHERE originator_id = $1 AND originator_version > $2 AND originator_version <= $3
ORDER BY originator_version
LIMIT $4;

-- select_snapshots_newest_first --
-- Snapshots of one aggregate between two versions, newest first.
SELECT 0, originator_id, originator_version, 0, topic, state FROM stored_snapshots
WHERE originator_id = $1 AND originator_version > $2 AND originator_version <= $3
ORDER BY originator_version DESC
LIMIT $4;

-- notifications --
-- Events by position, of any topic.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE notification_id >= $1 AND notification_id <= $2
ORDER BY notification_id
LIMIT $3;

-- notifications_of_topics --
-- Events by position, of some topics.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE notification_id >= $1 AND notification_id <= $2 AND topic = ANY ($3::text[])
ORDER BY notification_id
LIMIT $4;

-- track --
-- Moves a tracking position forward, and marks it; a no-op if it would not move forward.
INSERT INTO tracking (application_name, notification_id, mark) VALUES ($1, $2, (
    SELECT event_mark(event.originator_id, event.originator_version, event.revision, event.topic, event.state)
    FROM stored_events AS event WHERE event.notification_id = $2
))
ON CONFLICT (application_name) DO UPDATE SET notification_id = excluded.notification_id, mark = excluded.mark
WHERE tracking.notification_id < excluded.notification_id
RETURNING notification_id;

-- tracked --
-- A tracking position, and its mark.
SELECT notification_id, mark FROM tracking WHERE application_name = $1;
