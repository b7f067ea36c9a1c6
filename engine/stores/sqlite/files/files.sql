-- furthest_checkpoint --
-- The checkpoint that is furthest in the log, with what the log must prove.
SELECT position, mark, log_id FROM checkpoints WHERE position > 0 ORDER BY position DESC LIMIT 1;

-- newest_event --
-- The newest event, with the fields from which its mark is made.
SELECT notification_id, originator_id, originator_version, revision, topic, octet_length(state), coalesce(substr(state, 1, 4096), x'')
FROM stored_events ORDER BY notification_id DESC LIMIT 1;

-- unfolded --
-- Whether lost pages are not all folded again yet: the number of domains needed, and of those that are done.
SELECT needed > 0 AND (SELECT count(*) FROM checkpoints WHERE checkpoints.position >= recovery.needed) < ? FROM recovery;

-- need_folding --
-- Stores the position up to which everything must be folded before a missing page is known not to exist.
UPDATE recovery SET needed = ?;

-- need_no_more --
-- Stores the end of the log that must be folded, if pages were lost before.
UPDATE recovery SET needed = min(needed, ?);

-- all_is_folded --
-- Clears the position once that many domains have reached it.
UPDATE recovery SET needed = 0
WHERE needed > 0 AND (SELECT count(*) FROM checkpoints WHERE checkpoints.position >= recovery.needed) = ?;

-- unmarked_checkpoints --
-- The checkpoints of a store from before there were marks.
SELECT domain, position FROM checkpoints WHERE position > 0 AND mark IS NULL AND log_id IS NULL;

-- mark_checkpoint --
-- Marks one of them.
UPDATE checkpoints SET mark = ?, log_id = ? WHERE domain = ?;

-- schema_of_file --
-- The smallest possible read, with which a transaction takes its snapshot.
SELECT count(*) FROM sqlite_schema;
