-- What a dead letter says is removed after its time, or before, by an operator. The columns are those in `events.db`.
ALTER TABLE dead_letters ADD COLUMN via TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN purged_at TEXT;
ALTER TABLE dead_letters ADD COLUMN purged_by TEXT;

-- Those whose time is over next.
CREATE INDEX dead_letters_by_expiry
    ON dead_letters (iif(domain = '', 'request', 'event'), (resolution IS NOT NULL), coalesce(resolved_at, recorded_at))
    WHERE purged_at IS NULL;
