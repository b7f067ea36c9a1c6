-- log_id --
-- The identity of the log.
SELECT log_id FROM log_identity;

-- event_at --
-- What the mark of the event at a position is made of.
SELECT originator_id, originator_version, revision, topic, octet_length(state), coalesce(substr(state, 1, 4096), x'')
FROM stored_events WHERE notification_id = ?;

-- kept --
-- The positions of all checkpoints, with what the log has to prove.
SELECT domain, position, mark, log_id FROM checkpoints ORDER BY domain;

-- tally --
-- How many events of a domain there are up to a position, and in how many streams.
SELECT count(*), count(DISTINCT originator_id) FROM stored_events WHERE topic = ? AND notification_id <= ?;

-- reset_checkpoints --
-- Begins every domain anew.
UPDATE checkpoints SET position = 0, applied = 0, stale = 0, dead = 0, fingerprint = NULL, mark = NULL, log_id = NULL;

-- forget_streaks --
-- Begins to count anew.
DELETE FROM streaks;

-- set_recovery --
-- Remembers whether a recovery is under way.
UPDATE recovery SET under_way = ?;

-- recovering --
-- Whether a recovery is under way.
SELECT under_way FROM recovery;
