-- log_id --
-- The identity of the log.
SELECT log_id FROM log_identity WHERE one;

-- event_at --
-- The mark of the event at a position.
SELECT event_mark(originator_id, originator_version, revision, topic, state)
FROM stored_events WHERE notification_id = $1;

-- kept --
-- The positions of all checkpoints, with what the log must prove, and the marks of the events there.
SELECT domain, position, mark, log_id, (
    SELECT event_mark(event.originator_id, event.originator_version, event.revision, event.topic, event.state)
    FROM stored_events AS event WHERE event.notification_id = checkpoints.position
)
FROM checkpoints ORDER BY domain;

-- tally --
-- The number of events of a domain up to a position, and of their streams.
SELECT count(*), count(DISTINCT originator_id) FROM stored_events WHERE topic = $1 AND notification_id <= $2;

-- reset_checkpoints --
-- Starts every domain over.
UPDATE checkpoints SET position = 0, applied = 0, stale = 0, dead = 0, fingerprint = NULL, mark = NULL, log_id = NULL;

-- forget_streaks --
-- Starts the count over.
DELETE FROM streaks;

-- set_recovery --
-- Stores whether a recovery is in progress.
UPDATE recovery SET under_way = $1;

-- recovering --
-- Whether a recovery is in progress.
SELECT under_way FROM recovery;
