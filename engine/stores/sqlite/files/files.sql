-- furthest_checkpoint --
-- The checkpoint that is furthest in the log, with what the log has to prove.
SELECT position, mark, log_id FROM checkpoints WHERE position > 0 ORDER BY position DESC LIMIT 1;

-- newest_event --
-- The newest event, with what its mark is made of.
SELECT notification_id, originator_id, originator_version, revision, topic, octet_length(state), coalesce(substr(state, 1, 4096), x'')
FROM stored_events ORDER BY notification_id DESC LIMIT 1;

-- unfolded --
-- Whether pages that were lost are not all folded again yet: how many domains there are, by how many are so far.
SELECT needed > 0 AND (SELECT count(*) FROM checkpoints WHERE checkpoints.position >= recovery.needed) < ? FROM recovery;

-- need_folding --
-- Remembers up to where everything must be folded, before a page that is not here is none.
UPDATE recovery SET needed = ?;

-- need_no_more --
-- Remembers up to where the log goes that is to be folded, where pages were lost before.
UPDATE recovery SET needed = min(needed, ?);

-- all_is_folded --
-- Forgets what was needed, when that many domains are so far.
UPDATE recovery SET needed = 0
WHERE needed > 0 AND (SELECT count(*) FROM checkpoints WHERE checkpoints.position >= recovery.needed) = ?;

-- unmarked_checkpoints --
-- The checkpoints of a store that was made before there were marks.
SELECT domain, position FROM checkpoints WHERE position > 0 AND mark IS NULL AND log_id IS NULL;

-- mark_checkpoint --
-- Gives one of them its mark.
UPDATE checkpoints SET mark = ?, log_id = ? WHERE domain = ?;

-- schema_of_file --
-- What the file has: the smallest read that there is, with which a transaction begins to see one moment.
SELECT count(*) FROM sqlite_schema;
