-- record_event --
-- Appends an event of the `eventsourcing` library.
INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?) RETURNING notification_id;

-- record_snapshot --
-- Stores a snapshot of the `eventsourcing` library.
INSERT INTO stored_snapshots (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?);

-- select_events --
-- Events of one stream between two versions, oldest first.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE originator_id = ? AND originator_version > ? AND originator_version <= ?
ORDER BY originator_version, revision
LIMIT ?;

-- select_events_newest_first --
-- Events of one stream between two versions, newest first.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE originator_id = ? AND originator_version > ? AND originator_version <= ?
ORDER BY originator_version DESC, revision DESC
LIMIT ?;

-- select_snapshots --
-- Snapshots of one aggregate between two versions, oldest first.
SELECT 0, originator_id, originator_version, 0, topic, state FROM stored_snapshots
WHERE originator_id = ? AND originator_version > ? AND originator_version <= ?
ORDER BY originator_version
LIMIT ?;

-- select_snapshots_newest_first --
-- Snapshots of one aggregate between two versions, newest first.
SELECT 0, originator_id, originator_version, 0, topic, state FROM stored_snapshots
WHERE originator_id = ? AND originator_version > ? AND originator_version <= ?
ORDER BY originator_version DESC
LIMIT ?;

-- notifications --
-- Events by position, of any topic.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE notification_id >= ? AND notification_id <= ?
ORDER BY notification_id
LIMIT ?;

-- notifications_of_topics --
-- Events by position, of some topics.
SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events
WHERE notification_id >= ? AND notification_id <= ? AND topic IN carray(?)
ORDER BY notification_id
LIMIT ?;

-- track --
-- Moves a tracking position forward, and marks it; a no-op if it would not move forward.
INSERT INTO tracking (application_name, notification_id, mark) VALUES (?, ?, ?)
ON CONFLICT (application_name) DO UPDATE SET notification_id = excluded.notification_id, mark = excluded.mark
WHERE tracking.notification_id < excluded.notification_id
RETURNING notification_id;

-- tracked --
-- A tracking position, and its mark.
SELECT notification_id, mark FROM tracking WHERE application_name = ?;
