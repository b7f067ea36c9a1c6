-- A dead letter is never deleted: it is resolved, by a fold, by an append, or by an operator. It may be the body of a
-- request that could not be made an event; then it has headers.
ALTER TABLE dead_letters
    ADD COLUMN headers bytea NOT NULL DEFAULT '{}',
    ADD COLUMN resolution text COLLATE "C",
    ADD COLUMN resolved_at timestamptz,
    ADD COLUMN resolved_by text,
    ADD COLUMN reason text,
    ADD COLUMN position bigint;

-- Open letters are few, however many have been resolved.
CREATE INDEX dead_letters_open ON dead_letters (kind, domain, originator_id) WHERE resolution IS NULL;

-- Pages of a list, from either end.
CREATE INDEX dead_letters_by_age ON dead_letters ((resolution IS NOT NULL), recorded_at, kind, number);
