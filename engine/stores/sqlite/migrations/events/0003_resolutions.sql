-- A dead letter is never deleted: it is resolved, by an append or by an operator. It may be the body of a request that
-- could not be made an event; then it has headers.
ALTER TABLE dead_letters ADD COLUMN headers BLOB NOT NULL DEFAULT x'7b7d';
ALTER TABLE dead_letters ADD COLUMN resolution TEXT;
ALTER TABLE dead_letters ADD COLUMN resolved_at TEXT;
ALTER TABLE dead_letters ADD COLUMN resolved_by TEXT;
ALTER TABLE dead_letters ADD COLUMN reason TEXT;
ALTER TABLE dead_letters ADD COLUMN position INTEGER;

-- Open letters are few, however many have been resolved.
CREATE INDEX dead_letters_open ON dead_letters (domain, originator_id) WHERE resolution IS NULL;

-- Pages of a list, from either end.
CREATE INDEX dead_letters_by_age ON dead_letters ((resolution IS NOT NULL), recorded_at, number);
