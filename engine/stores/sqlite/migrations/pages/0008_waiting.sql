-- The columns are those in `events.db`.
ALTER TABLE dead_letters ADD COLUMN kind TEXT NOT NULL DEFAULT 'projection';
ALTER TABLE dead_letters ADD COLUMN reference_kind TEXT;
ALTER TABLE dead_letters ADD COLUMN reference_id TEXT;

-- Those whose time is over next.
DROP INDEX dead_letters_by_expiry;
CREATE INDEX dead_letters_by_expiry
    ON dead_letters (iif(domain = '', 'request', kind), (resolution IS NOT NULL), coalesce(resolved_at, recorded_at))
    WHERE purged_at IS NULL;
