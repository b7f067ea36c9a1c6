-- What waits for a reference is here, too; so a dead letter has a kind.
ALTER TABLE dead_letters ADD COLUMN kind TEXT NOT NULL DEFAULT 'ingest';
ALTER TABLE dead_letters ADD COLUMN reference_kind TEXT;
ALTER TABLE dead_letters ADD COLUMN reference_id TEXT;

-- What waits under a reference, in the order in which it is taken.
CREATE INDEX dead_letters_waiting ON dead_letters (reference_kind, reference_id, originator_version, number)
    WHERE kind = 'waiting' AND resolution IS NULL AND purged_at IS NULL;

-- Those whose time is over next.
DROP INDEX dead_letters_by_expiry;
CREATE INDEX dead_letters_by_expiry
    ON dead_letters (iif(domain = '', 'request', kind), (resolution IS NOT NULL), coalesce(resolved_at, recorded_at))
    WHERE purged_at IS NULL;
