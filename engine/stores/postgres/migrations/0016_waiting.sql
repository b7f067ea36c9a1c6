-- What waits for a reference.
ALTER TABLE dead_letters
    ADD COLUMN reference_kind text COLLATE "C",
    ADD COLUMN reference_id text COLLATE "C";

-- What waits under a reference, in the order in which it is taken.
CREATE INDEX dead_letters_waiting ON dead_letters (reference_kind, reference_id, originator_version, number)
    WHERE kind = 'waiting' AND resolution IS NULL AND purged_at IS NULL;
