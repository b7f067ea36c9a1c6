-- log_id --
-- The identity of the log.
SELECT log_id FROM log_identity;

-- event_at --
-- The fields from which the mark of the event at a position is made.
SELECT originator_id, originator_version, revision, topic, octet_length(state), coalesce(substr(state, 1, 4096), x'')
FROM stored_events WHERE notification_id = ?;

-- kept --
-- The positions of all checkpoints, with what the log must prove.
SELECT domain, position, mark, log_id FROM checkpoints ORDER BY domain;

-- tally --
-- The number of events of a domain up to a position, and of their streams.
SELECT count(*), count(DISTINCT originator_id) FROM stored_events WHERE topic = ? AND notification_id <= ?;

-- reset_checkpoints --
-- Starts every domain over.
UPDATE checkpoints SET position = 0, applied = 0, stale = 0, dead = 0, fingerprint = NULL, mark = NULL, log_id = NULL;

-- forget_streaks --
-- Starts the count over.
DELETE FROM streaks;

-- set_recovery --
-- Stores whether a recovery is in progress.
UPDATE recovery SET under_way = ?;

-- recovering --
-- Whether a recovery is in progress.
SELECT under_way FROM recovery;
